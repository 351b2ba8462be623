"""Every runtime gives torch's logits, leaves the module alone, and says in one line what it cannot."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from hardware.runtimes import RUNTIMES, RuntimeUnavailable, make_runtime
from hardware.setting import Setting
from searchspace import build
from searchspace.architecture import Architecture, Block, Head, Stage, Stem

STATIC = Architecture(Stem(8), (Stage((Block("inverted", 8, hidden=16, stride=2), Block("residual", 8))),), Head(), 15, 5)
GATED = Architecture(
    Stem(8),
    (Stage((Block("residual", 8), Block("residual", 8, gate="rnn"))),),
    Head(),
    16,
    5,
    gate_sharing="shared",
    skip_alpha=0.1,
)
compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on the cpu")
openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def pixels(a, n=1):
    return np.random.default_rng(2).integers(0, 256, (n, 3, a.resolution, a.resolution), dtype=np.uint8)


def answer(runtime, x):
    with runtime.ready():
        return runtime.read(runtime.run(runtime.load(x)))


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("cpu", "onnxruntime"),
        pytest.param("cpu", "openvino", marks=openvino),
        ("cpu", "eager"),
        pytest.param("cpu", "compiled", marks=compiler),
        *(pytest.param("cuda", name, marks=gpu) for name in ("eager", "cuda_graph", "compiled")),
    ],
)
def test_logits_are_those_of_torch(device, name):
    net = build(STATIC).eval()
    strides = [p.stride() for p in net.parameters()]
    with torch.no_grad():
        x = pixels(STATIC, 2)
        expected = net((torch.from_numpy(x).float() - 110) / 50).numpy()
    runtime = make_runtime(Setting(device, name))
    runtime.prepare(net, x.shape, 110.0, 50.0)
    logits, kept = answer(runtime, x)
    assert kept is None
    assert np.abs(logits - expected).max() <= (1e-5 if device == "cpu" else 5e-3) * np.abs(expected).max()  # CUDA: TF32
    assert [p.stride() for p in net.parameters()] == strides and runtime.version()
    logits[:] = 0
    assert np.abs(answer(runtime, pixels(STATIC, 2) // 2)[0]).max() > 0  # another image, another answer


@pytest.mark.parametrize("name", ["onnxruntime", "eager"])
def test_gated_nets_skip(name):
    net = build(GATED)
    net(torch.randn(2, 3, 16, 16))  # leaves the decisions of a training step on the net, with their graph
    assert net.last_kept is not None and not net.last_kept.is_leaf
    runtime = make_runtime(Setting("cpu", name))
    runtime.prepare(net, (1, 3, 16, 16))
    x = pixels(GATED)
    logits, kept = answer(runtime, x)
    expected, decided = net.eval().run((torch.from_numpy(x).float() - 127.5) / 64)
    assert np.abs(logits - expected.numpy()).max() <= 1e-5 * expected.abs().max()
    assert kept is not None and kept.tolist() == decided.float().tolist()


@compiler
def test_compiled_refuses_gated_nets():
    with pytest.raises(
        RuntimeUnavailable, match="cannot skip the blocks of a gated net: use runtime=onnxruntime or openvino or eager"
    ):
        make_runtime(Setting("cpu", "compiled")).prepare(build(GATED), (1, 3, 16, 16))


def test_without_a_compiler_compiled_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeUnavailable, match=r"needs a C\+\+ compiler.*install g"):
        make_runtime(Setting("cpu", "compiled"))


def test_onnxruntime_does_not_run_on_cuda():
    with pytest.raises(RuntimeUnavailable, match="use eager, compiled, cuda_graph"):
        make_runtime(Setting("cuda", "onnxruntime"))


def test_threads_and_grad_mode_are_given_back():
    runtime = make_runtime(Setting("cpu", "eager", threads=2))
    before = torch.get_num_threads()
    with runtime.ready():
        assert torch.get_num_threads() == 2 and torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == before and not torch.is_inference_mode_enabled()


def test_the_registry_names_what_it_holds():
    assert all(made().name == name for name, made in RUNTIMES.items())
    assert set(RUNTIMES) == {"onnxruntime", "openvino", "eager", "compiled", "cuda_graph"}
