"""Int8 files of trained nets: as accurate as fp32, truly int8, silent; and what is refused."""

import logging
import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from hardware import ExportError
from hardware.export import to_onnx
from hardware.int8 import agreement, quantised, top1
from hardware.machine import has_vnni
from searchspace import build
from searchspace.anchors import anchor
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from trainers.data import load
from trainers.recipe import Recipe
from trainers.supervised import fit


def inverted(act, se, **more):
    return Block("inverted", 16, kernel=3, hidden=48, se=se, activation=act, **more)


def mobile(size, channels):
    """Everything that int8 is said to be bad at: depthwise, clipped and hard-swish activations, squeeze-and-excitation."""
    stages = (
        Stage((Block("separable", 16, activation="relu6"), inverted("relu6", 0))),
        Stage((inverted("h_swish", 8, stride=2), inverted("h_swish", 8))),
    )
    return Architecture(Stem(16), stages, Head(32), size, 10, in_channels=channels)


@pytest.fixture(scope="module")
def trained():
    """(net, data, calibration images, validation images, labels), two seconds of training."""
    torch.set_num_threads(1)
    data = load("digits")
    torch.manual_seed(0)
    net = build(mobile(data.size, data.channels))
    assert fit(net, data, Recipe(6)).top1_val > 90
    x, y = (part[0].permute(0, 3, 1, 2).numpy() for part in (data.train, data.val))
    return net, data, x[:128], y, data.val[1].numpy()


def exported(trained, batch=1):
    net, data = trained[:2]
    return to_onnx(net, (batch, data.channels, data.size, data.size), data.mean, data.std)


@pytest.fixture(scope="module")
def files(trained):
    fp32 = exported(trained)
    return fp32, quantised(fp32, trained[2])


def int8_weights(data):
    """Name -> (int8 values, scales) of what feeds the second input of a Conv or Gemm."""
    graph = onnx.load_from_string(data).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    layers = [n for n in graph.node if n.op_type in ("Conv", "Gemm")]
    assert layers and all(made[n.input[1]].op_type == "DequantizeLinear" for n in layers)
    return {n.name: tuple(constants[i] for i in made[n.input[1]].input[:2]) for n in layers}


@pytest.mark.parametrize("vnni", [True, False])
def test_int8_is_as_accurate_as_fp32(trained, files, vnni):
    if vnni and not has_vnni():
        pytest.skip("sums of 8-bit products saturate on this CPU: weights are of 7 bits here")
    calibration, x, y = trained[2:]
    fp32, int8 = files[0], files[1] if vnni else quantised(files[0], calibration, vnni=False)
    assert top1(int8, x, y) >= top1(fp32, x, y) - 2
    alike = agreement(fp32, int8, x)
    assert alike.same_top1 > 0.97 and 0 < alike.logit_rms < 0.08


def test_wrongly_scaled_calibration_would_show(trained, files):
    calibration, x, y = trained[2:]
    dark = quantised(files[0], calibration // 16)
    assert top1(dark, x, y) < top1(files[0], x, y) - 2
    assert agreement(files[0], dark, x).logit_rms > 0.2


def test_top1_and_agreement_say_what_torch_says(trained, files):
    net, data, _, x, y = trained
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.mean, data.std))
    with torch.no_grad():
        answers = net.eval()((torch.from_numpy(x).float() - mean) / std).argmax(1).numpy()
    assert top1(files[0], x, y) == pytest.approx(100 * (answers == y).mean())
    assert top1(files[0], x, answers) == 100 and top1(files[0], x, (answers + 1) % 10) == 0
    assert agreement(files[0], files[0], torch.from_numpy(x)) == (1, 0)


def test_weights_are_int8_a_channel(trained, files):
    weights = int8_weights(files[1])
    assert all(w.dtype == np.int8 for w, _ in weights.values())
    assert all(scale.shape == (w.shape[0],) for w, scale in weights.values())
    assert max(np.abs(w.astype(int)).max() for w, _ in weights.values()) > 100
    narrow = int8_weights(quantised(files[0], trained[2], vnni=False))
    assert max(np.abs(w.astype(int)).max() for w, _ in narrow.values()) <= 64


def test_onnxruntime_computes_in_int8(files, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "as_run.onnx"), 3
    onnxruntime.InferenceSession(files[1], options, providers=["CPUExecutionProvider"])
    ran = [n.op_type for n in onnx.load(tmp_path / "as_run.onnx").graph.node]
    before = [n.op_type for n in onnx.load_from_string(files[0]).graph.node]
    assert ran.count("QLinearConv") == before.count("Conv") and "Conv" not in ran
    assert ran.count("QGemm") == before.count("Gemm")
    assert ran.count("QLinearGlobalAveragePool") == before.count("ReduceMean") == 3 and "ReduceMean" not in ran


def test_the_batch_of_the_file_is_honoured(trained, files):
    calibration, x, y = trained[2:]
    fp32 = exported(trained, 4)
    int8 = quantised(fp32, calibration[:18])  # the last batch is filled up
    shape = onnx.load_from_string(int8).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [4, 1, 8, 8]
    assert top1(fp32, x[:7], y[:7]) == pytest.approx(top1(files[0], x[:7], y[:7]))
    assert agreement(files[0], fp32, x[:7]).logit_rms < 1e-5
    assert agreement(quantised(files[0], calibration[:18]), int8, x[:7]).logit_rms < 0.02
    assert top1(int8, x, y) >= top1(fp32, x, y) - 3


def test_means_other_than_of_height_and_width_are_left():
    class Means(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

        def forward(self, x):
            x = self.first(x)
            return self.last((x * x.mean(1, keepdim=True) + x.mean((-1, -2), keepdim=True)).mean((2, 3)))

    images = np.random.default_rng(0).integers(0, 256, (32, 3, 12, 12), dtype=np.uint8)
    fp32 = to_onnx(Means(), (1, 3, 12, 12))
    int8 = quantised(fp32, images, has_vnni())
    kinds = [n.op_type for n in onnx.load_from_string(int8).graph.node]
    assert kinds.count("GlobalAveragePool") == 2 and kinds.count("ReduceMean") == 1
    assert agreement(fp32, int8, images).logit_rms < 0.05


def test_a_net_of_others():
    import torchvision

    net = torchvision.models.get_model("squeezenet1_1", weights=None, num_classes=10)
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 48, 48), dtype=np.uint8)
    fp32 = to_onnx(net, (2, 3, 48, 48))
    int8 = quantised(fp32, images)
    assert len(int8) < 0.35 * len(fp32) and agreement(fp32, int8, images).logit_rms < 0.1


def one_line(call, *args):
    with pytest.raises(ExportError) as error:
        call(*args)
    assert str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_gated_nets_are_refused_but_have_a_top1():
    net = build(anchor("skipnet_20-rnn", resolution=12, classes=4))
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 12, 12), dtype=np.uint8)
    data = to_onnx(net, (1, 3, 12, 12))
    assert "inside If nodes would stay fp32" in one_line(quantised, data, images)
    assert 0 <= top1(data, images, np.zeros(16)) <= 100


def test_what_does_not_fit_says_so_in_one_line(trained, files):
    calibration, x, y = trained[2:]
    assert "15 calibration images are too few" in one_line(quantised, files[0], calibration[:15])
    assert "(20, 1, 8, 7) do not fit the file's (n, 1, 8, 8)" in one_line(quantised, files[0], calibration[:20, ..., :7])
    assert "do not fit" in one_line(quantised, files[0], calibration[:20].transpose(0, 2, 3, 1))
    assert "lie in 0..1: give raw pixels" in one_line(quantised, files[0], calibration / 255)
    assert "raw pixels" in one_line(quantised, files[0], calibration.astype(np.float32) - 100)
    assert "not an ONNX file" in one_line(quantised, b"no such thing", calibration)
    assert "do not fit" in one_line(top1, files[0], x[:0], y[:0])
    assert "3 images, labels of shape (4,)" in one_line(top1, files[0], x[:3], y[:4])
    assert "do not fit" in one_line(agreement, *files, x[0])


def test_silent_alike_and_nothing_left_behind(trained, files, capfd, recwarn, tmp_path, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # as in a script without logging, where the quantiser would install one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert quantised(files[0], torch.from_numpy(trained[2])) == files[1]
    agreement(*files, trained[3][:8])
    assert capfd.readouterr() == ("", "") and not recwarn.list
    assert root.handlers == [] and root.manager.disable == 0 and list(tmp_path.iterdir()) == []
