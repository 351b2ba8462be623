"""The Python lines that others rely on, in the order in which they are promised."""

import numpy as np
import pytest
import torch

import searchspace as ss
from hardware import Meter
from searchspace.anchors import UnknownNet
from searchspace.architecture import ArchitectureError
from study.samplers import SAMPLERS, make


def test_values_and_counts():
    a = ss.anchor("mobilenet_v1", alpha=0.5, resolution=160, classes=1000)
    assert a == ss.anchor("mobilenet_v1-0.5-160") and ss.Architecture.from_json(a.to_json()) == a
    c = ss.count(a)
    assert c.macs == ss.count(ss.build(a), input_shape=(1, 3, 160, 160)).macs == sum(t.macs for t in c.by_type.values())
    assert set(c.by_type) == {"conv1x1", "depthwise", "conv", "linear"} and c.params > c.weights == 1_319_648
    space = ss.space("mobile")
    assert space.decode(space.encode(a)) == a and len(space.neighbours(a)) > 100 and space.size() > 10**20
    gated = ss.anchor("skipnet_38-rnn")
    assert (gated.resolution, gated.classes) == (32, 10) and ss.space("skipnet").decode(
        ss.space("skipnet").encode(gated)
    ) == gated


def test_a_net_runs_as_it_is_built():
    net = ss.build(ss.anchor("skipnet_20-ff2"))
    x = torch.randn(4, 3, 32, 32)
    logits, kept = net.run(x, force=None)
    assert logits.shape == (4, 10) and kept.shape == (4, 8) and kept.dtype == torch.bool and net.training
    pattern = torch.tensor([True, False] * 4)
    assert torch.equal(net.run(x, force=pattern)[1], pattern.expand(4, -1))
    assert torch.equal(net.run(x, force=pattern)[0], net.run(x, force=pattern.expand(4, -1))[0])
    for wrong in ((7,), (3, 8), (4, 9), (4, 8, 1), (1, 8), ()):
        with pytest.raises(ValueError, match="force"):
            net.run(x, force=torch.ones(wrong, dtype=torch.bool))


def test_a_meter_measures_architectures_and_modules():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten())
    with Meter("cpu", spread_s=0) as meter:
        rows = meter.measure([ss.anchor("mobilenet_v1-0.25-32"), ss.anchor("skipnet_20")])
        (mine,) = meter.measure([module], input_shape=(1, 1, 12, 12))
    for row in (*rows, mine):
        assert 0 < row.low_ms <= row.latency_ms <= row.high_ms and row.n > 0 and row.runtime == "onnxruntime"
        assert isinstance(row.machine, str) and isinstance(row.busy, bool) and row.stopped


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_optunas(name):
    import optuna

    known = lambda params: np.zeros((len(params), 1))  # noqa: E731
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make(name, seed=0, known=known))
    study.optimize(lambda t: (t.suggest_categorical("a", [1, 2, 3]), t.suggest_categorical("b", ["x", "y"]) == "x"), n_trials=12)
    assert len(study.trials) == 12
    with pytest.raises(KeyError, match="no sampler 'nope'"):
        make("nope")


def test_names_of_nets():
    for name in ("resnet_8", "resnet_26", "skipnet_14-ff1", "skipnet_110-0.5-24", "mobilenet_v2-0.5-160-rnn", "resnet_152"):
        ss.build(ss.anchor(name))
    for name in ("resnet_21", "resnet_18", "resnet_2", "resnet_020", "mobilnet_v1", "mobilenet_v1-x"):
        with pytest.raises(UnknownNet):
            ss.anchor(name)
    for field, value in {"alpha": 0.5, "resolution": 0, "classes": 0, "gate": "rnn"}.items():
        with pytest.raises(ArchitectureError):
            ss.anchor("mobilenet_v1-0.25", **{field: value})
    assert ss.anchor("mobilenet_v1-0.25", alpha=0.25, gate="none") == ss.anchor("mobilenet_v1-0.25")
