"""Exports: everything registered, at odd and even sizes, gated with every kind of decision; skipped blocks do
not run."""

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from hardware import ExportError
from hardware.export import parity, to_onnx
from searchspace import build
from searchspace.architecture import ACTIVATIONS, FAMILIES, GATES, Architecture, Block, Head, Stage, Stem
from searchspace.blocks import BLOCKS

MEAN, STD = (120.0, 130.0, 90.0), (60.0, 50.0, 70.0)
TOLERANCE = 1e-5


def images(n, size, channels=3):
    return np.random.default_rng(1).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def block(family, out, **more):
    hidden = 3 * out if FAMILIES[family].expands else 0
    return Block(family, out, hidden=hidden, **more)


def lively(a):
    """Built, with batch norms that are not the identity: a wrong fold of them would show."""
    net = build(a)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
    return net


def gated_net(family, gate, sharing, size, blocks=4, width=8):
    first = Stage((block(family, width), *(block(family, width, gate=gate) for _ in range(blocks))))
    stages = [first]
    if FAMILIES[family].shortcut == "always":  # a skipped transition is a 1x1 convolution
        stages.append(Stage((block(family, 2 * width, stride=2, gate=gate), block(family, 2 * width, gate=gate))))
    return lively(Architecture(Stem(width), tuple(stages), Head(), size, 5, gate_sharing=sharing, skip_alpha=0.1)).eval()


def force(net, pattern):
    """Bias the gates so that they decide as `pattern` says (gates that share decide alike)."""
    for gate, keep in zip(net.gates.values(), pattern, strict=True):
        last = gate.core.decision if hasattr(gate, "core") else gate.decision
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([-5.0, 5.0] if keep else [5.0, -5.0])[-len(last.bias) :])


def normalised(x):
    return (torch.as_tensor(x).float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def parted(net, x):
    """Moves each gate's threshold into the middle of what it sees, in order."""
    normal = normalised(x)
    for g in net.gates.values():
        last = g.core.decision if hasattr(g, "core") else g.decision
        seen = []
        hook = last.register_forward_hook(lambda m, i, o: seen.append(o.detach()))  # noqa: B023
        net.run(normal)
        hook.remove()
        middle = torch.cat(seen).quantile(0.5, 0)  # between two images, on none
        with torch.no_grad():
            last.bias -= middle


def session(data, **options):
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads, chosen.log_severity_level = 1, 3
    for name, value in options.items():
        setattr(chosen, name, value)
    return onnxruntime.InferenceSession(data, chosen, providers=["CPUExecutionProvider"])


def agree(net, data, x):
    """Logits and decisions of the file and of torch, image by image."""
    assert parity(net, data, x, MEAN, STD) <= TOLERANCE
    kept = net.run(normalised(x))[1].numpy()
    ran = session(data)
    theirs = [ran.run(["kept"], {"image": x[i : i + 1].astype(np.float32)})[0][0] for i in range(len(x))]
    assert np.array_equal(np.stack(theirs), kept.astype(np.float32))
    return kept


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("family", sorted(BLOCKS))
def test_every_block_and_activation(family, act, size):
    blocks = (block(family, 8, kernel=5, activation=act, stride=2), block(family, 8, se=4, activation=act))
    net = lively(Architecture(Stem(8, activation=act), (Stage(blocks),), Head(16, 12, act), size, 7))
    data = to_onnx(net, (2, 3, size, size), MEAN, STD)
    assert parity(net, data, images(4, size), MEAN, STD) <= TOLERANCE


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("sharing", ["per_block", "shared"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("family", [n for n, f in FAMILIES.items() if f.shortcut != "never"])
def test_every_gate_open_closed_and_as_it_likes(family, gate, sharing, size):
    net, x = gated_net(family, gate, sharing, size), images(3, size)
    agree(net, to_onnx(net, (1, 3, size, size), MEAN, STD), x)
    for pattern in ([True] * len(net.gates), [False] * len(net.gates)):
        force(net, pattern)
        kept = agree(net, to_onnx(net, (1, 3, size, size), MEAN, STD), x)
        assert kept.all() == pattern[0] and kept.any() == pattern[0]


@pytest.mark.parametrize("gate", GATES)
def test_mixed_decisions(gate):
    net = gated_net("residual", gate, "per_block", 12)
    pattern = [True, False, False, True, False, True]
    force(net, pattern)
    kept = agree(net, to_onnx(net, (1, 3, 12, 12), MEAN, STD), images(2, 12))
    assert kept.tolist() == [pattern, pattern]


@pytest.mark.parametrize("gates", [("rnn", "", "rnn", "ff2", ""), ("ff2", "rnn", "", "", "rnn")])
def test_gates_of_several_designs_with_blocks_between_them(gates):
    """The state passes by gates that do not read it, and by blocks that no branch leads to."""
    stage = Stage((block("residual", 16), *(block("residual", 16, gate=gate) for gate in gates)))
    net, x = (
        lively(Architecture(Stem(16), (stage,), Head(), 12, 5, gate_sharing="per_block", skip_alpha=0.1)).eval(),
        images(24, 12),
    )
    x[::2] //= 4  # dark images beside bright ones
    with torch.no_grad():
        for gate in net.gates.values():
            if hasattr(gate, "core"):
                gate.core.from_state.weight.mul_(30)  # the state weighs as much as the image
    parted(net, x)
    kept = agree(net, to_onnx(net, (1, 3, 12, 12), MEAN, STD), x)
    assert all(0.2 < column < 0.8 for column in kept.mean(0))
    for gate in net.gates.values():  # a state that is lost would show: some decisions hang on it
        if hasattr(gate, "core"):
            gate.forward = lambda x, h, c, gate=gate: type(gate).forward(gate, x, torch.zeros_like(h), torch.zeros_like(c))
    assert not np.array_equal(net.run(normalised(x))[1].numpy(), kept)
    for gate in net.gates.values():
        vars(gate).pop("forward", None)
    for pattern in ([True, False, True], [False, True, False], [False, False, True]):
        force(net, pattern)
        assert agree(net, to_onnx(net, (1, 3, 12, 12), MEAN, STD), x).tolist() == [pattern] * len(x)


@pytest.mark.parametrize("gate", GATES)
def test_decisions_that_differ_from_image_to_image(gate):
    net, x = gated_net("residual", gate, "per_block", 12), images(24, 12)
    x[::2] //= 4  # dark images beside bright ones
    parted(net, x)
    kept = agree(net, to_onnx(net, (1, 3, 12, 12), MEAN, STD), x)
    assert 0.05 < kept.mean() < 0.95
    assert len({tuple(row) for row in kept.tolist()}) > 1


def test_all_open_equals_the_ungated_twin():
    net = gated_net("residual", "rnn", "shared", 16)
    force(net, [True] * len(net.gates))
    twin = build(net.architecture.without_gates()).eval()
    twin.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("gates.")})
    x = images(1, 16).astype(np.float32)
    a, b = (session(to_onnx(n, x.shape)).run(["logits"], {"image": x})[0] for n in (net, twin))
    assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()


def _kernels(data, x, folder):
    ran = session(data, enable_profiling=True, profile_file_prefix=str(folder / "profile"))
    ran.run(None, {"image": x})
    events = json.loads(Path(ran.end_profiling()).read_text())
    names = Counter(e["args"]["op_name"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"))
    return sum(n for name, n in names.items() if name.endswith("Conv"))


def test_a_skipped_block_runs_no_convolution(tmp_path):
    net, x = gated_net("residual", "rnn", "per_block", 16), images(1, 16).astype(np.float32)
    gates = len(net.gates)
    for pattern, gone in (
        ([True] * gates, 0),
        ([True, False] * (gates // 2), None),
        ([False] * gates, 2 * gates),
    ):
        force(net, pattern)
        ran = _kernels(to_onnx(net, (1, 3, 16, 16)), x, tmp_path)
        # stem, first block's two, two a kept block, the transition's projection in either branch
        assert ran == 1 + 2 + 1 + 2 * sum(pattern)
        assert gone is None or ran == 1 + 2 + 1 + 2 * gates - gone


def test_a_skipped_block_costs_no_time():
    net, x = (
        gated_net("residual", "rnn", "per_block", 32, blocks=8, width=32),
        images(1, 32).astype(np.float32),
    )
    runs = {}
    for keep in (True, False):
        force(net, [keep] * len(net.gates))
        runs[keep] = session(to_onnx(net, (1, 3, 32, 32)))
    least = {True: 9.0, False: 9.0}
    for _ in range(40):
        for keep, ran in runs.items():
            start = time.perf_counter()
            ran.run(None, {"image": x})
            least[keep] = min(least[keep], time.perf_counter() - start)
    assert least[False] < 0.5 * least[True]  # 10 of 11 blocks are skipped


def _branches(graph):
    """The branches of each `If` of a graph: {"then_branch": graph, "else_branch": graph}."""
    return [{a.name: a.g for a in n.attribute} for n in graph.node if n.op_type == "If"]


def test_weights_of_a_block_lie_in_its_branch_and_those_of_the_next_gate_in_both():
    net = gated_net("inverted", "ff2", "per_block", 16)
    choices = _branches(onnx.load_from_string(to_onnx(net, (1, 3, 16, 16))).graph)
    assert len(choices) == len(net.gates)
    for k, choice in enumerate(choices):
        gates = k + 1 < len(choices)
        for way, convolutions in (("then_branch", 3 + gates), ("else_branch", 0 + gates)):
            local = {t.name for t in choice[way].initializer}
            used = {n.input[1] for n in choice[way].node if n.op_type == "Conv"}
            assert len(used) == convolutions and used <= local


@pytest.mark.parametrize(("family", "last"), [("residual", "Relu"), ("inverted", "")])
def test_a_branch_has_one_layout_and_its_addition_is_fused(family, last, tmp_path):
    net = gated_net(family, "ff2", "per_block", 16, width=16)
    made = str(tmp_path / "made.onnx")
    session(to_onnx(net, (1, 3, 16, 16)), optimized_model_filepath=made)
    then = _branches(onnx.load(made).graph)[0]["then_branch"].node
    if not any(n.domain.endswith("nchwc") for n in then):
        pytest.skip("ONNX Runtime has no layout of its own on this processor")
    ops = [n.op_type for n in then]
    assert ops.count("ReorderInput") == 1 and "Add" not in ops and "Relu" not in ops
    added = [n for n in then if n.op_type == "Conv" and len(n.input) == 4]  # the fourth input is what is added
    assert len(added) == 1
    assert next((a.s.decode() for a in added[0].attribute if a.name == "activation"), "") == last


def test_normalisation_is_inside_per_channel():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = images(1, 8).astype(np.float32)
    (logits,) = session(to_onnx(net, x.shape, MEAN, STD)).run(None, {"image": x})
    assert np.allclose(logits, (x.mean((2, 3)) - MEAN) / STD, atol=1e-4)


def test_flags_and_weights_are_left_alone(recwarn, capfd):
    net = gated_net("residual", "rnn", "shared", 16).train()
    net.stem[1].eval()  # a frozen batch norm
    before = {k: v.clone() for k, v in net.state_dict().items()}
    to_onnx(net, (1, 3, 16, 16))
    assert net.training and not net.stem[1].training and net.blocks[0].training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_channels_last_weights_export_alike():
    net = gated_net("residual", "rnn", "shared", 16)
    plain = to_onnx(net, (1, 3, 16, 16))
    assert to_onnx(net.to(memory_format=torch.channels_last), (1, 3, 16, 16)) == plain


@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "timm:regnetx_002", "torchvision:shufflenet_v2_x0_5"])
def test_nets_of_others(name):
    package, _, net_name = name.partition(":")
    if package == "timm":
        import timm

        net = timm.create_model(net_name, num_classes=10)
    else:
        import torchvision

        net = torchvision.models.get_model(net_name, weights=None, num_classes=10)
    assert parity(net, to_onnx(net, (2, 3, 64, 64)), images(2, 64)) <= TOLERANCE
    assert net.training


class _Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x.mean(1))


class _Broken(nn.Module):
    def forward(self, x):
        raise KeyError("no such\nlayer")


@pytest.mark.parametrize("net", [_Svd(), _Broken()])
def test_what_cannot_be_exported_says_so_in_one_line(net):
    with pytest.raises(ExportError) as error:
        to_onnx(net, (1, 3, 8, 8))
    assert str(error.value) and "\n" not in str(error.value)


def test_gated_nets_are_exported_for_one_image_and_never_masked():
    net = gated_net("residual", "rnn", "shared", 8)
    with pytest.raises(ExportError, match="batch 1, not 2"):
        to_onnx(net, (2, 3, 8, 8))
    with pytest.raises(ExportError, match="masked"):
        to_onnx(build(net.architecture, execution="masked"), (1, 3, 8, 8))


def test_parity_sees_a_difference():
    net = gated_net("residual", "rnn", "shared", 8)
    data = to_onnx(net, (1, 3, 8, 8))
    with torch.no_grad():
        net.head.classifier.classes.bias[0] += 0.1
    assert parity(net, data, images(2, 8)) > 1e-3
