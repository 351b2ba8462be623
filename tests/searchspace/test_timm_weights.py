"""Our MobileNets beside timm's: one set of weights, the same logits."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

import searchspace as ss
from searchspace.anchors import UnknownNet
from searchspace.architecture import Stage
from searchspace.timm_weights import (
    NETS,
    WeightsError,
    _layers,
    from_timm,
    timm_architecture,
    timm_name,
    to_timm,
    with_activation,
)

# maps of 36, 18, 9, 5, 3 pixels: with an odd one padding on the wrong side shows
SIZE = 72


def scrambled(net, seed):
    """Weights, norms and batch statistics drawn anew, in eval mode; activations reach beyond 6."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                for t, low, high in ((m.weight, 0.5, 2), (m.bias, -1, 1), (m.running_mean, -1, 1), (m.running_var, 0.2, 2)):
                    t.uniform_(low, high, generator=draw)
                m.num_batches_tracked.fill_(7)
            elif isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, generator=draw)
                if m.bias is not None:
                    m.bias.uniform_(-1, 1, generator=draw)
    return net.eval()


def difference(a, b):
    """Of the logits, over the largest."""
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        want = b(x)
        assert want.abs().max() > 0 and want.isfinite().all()
        return float((a(x) - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("name", NETS)
def test_one_set_of_weights_gives_the_same_logits_both_ways(name):
    a = timm_architecture(name, SIZE, classes=7)
    ours, theirs = ss.build(a).eval(), scrambled(timm.create_model(name, num_classes=7), 1)
    assert difference(ours, theirs) > 0.1
    from_timm(ours, theirs.state_dict())
    assert difference(ours, theirs) <= 1e-5
    scrambled(ours, 2)
    assert difference(ours, theirs) > 0.1
    theirs.load_state_dict(to_timm(ours))  # strict: not one tensor more or less
    assert difference(ours, theirs) <= 1e-5
    assert timm_name(a) == name


@pytest.mark.parametrize("name", NETS)
def test_what_a_state_does_not_show_is_the_same(name):
    """Strides, padding on both sides, epsilon and momentum of norms, activations, and the squeeze's own."""
    a = timm_architecture(name, 224)
    ours, theirs = ss.build(a), timm.create_model(name)
    kinds = set()
    for mine, other in _layers(a):
        m, t = ours.get_submodule(mine), theirs.get_submodule(other)
        if isinstance(m, nn.BatchNorm2d):
            assert (m.eps, m.momentum) == (t.eps, t.momentum) == (1e-5, 0.1)
            after = list(ours.get_submodule(mine.rpartition(".")[0]))[2:]
            assert [type(x) for x in after] == [type(x) for x in (t.act,) if not isinstance(x, nn.Identity)], other
        elif isinstance(m, nn.Conv2d):
            for what in ("kernel_size", "stride", "padding", "dilation", "groups"):
                assert getattr(m, what) == getattr(t, what), (other, what)
            if other.endswith("conv_reduce"):
                squeeze = theirs.get_submodule(other.rpartition(".")[0])
                assert (type(squeeze.act1), type(squeeze.gate)) == (nn.ReLU, nn.Hardsigmoid)
        kinds.add(type(m))
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.Linear}


@pytest.mark.parametrize(
    ("anchor", "want"),
    [
        ("mobilenet_v2", "mobilenetv2_100"),
        ("mobilenet_v2-0.35", "mobilenetv2_035"),
        ("mobilenet_v2-0.5-32-rnn", "mobilenetv2_050"),  # strides dropped, gates added: the same weights
        ("mobilenet_v2-0.75-160", "mobilenetv2_075"),
        ("mobilenet_v2-1.4", "mobilenetv2_140"),
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
        ("mobilenet_v3_small-32", "mobilenetv3_small_100"),
        ("mobilenet_v3_large-0.75", "mobilenetv3_large_075"),
        ("mobilenet_v3_small-0.75", "mobilenetv3_small_075"),
        ("mobilenet_v3_small-0.5", None),  # another stem: see timm_weights.py
        ("mobilenet_v2-0.25", None),
        ("mobilenet_v1", None),  # relu
        ("resnet_20", None),
    ],
)
def test_which_anchors_are_timms_nets(anchor, want):
    assert timm_name(ss.anchor(anchor, classes=3, in_channels=1)) == want


def test_mobilenet_v1_is_timms_once_its_activation_is():
    paper = ss.anchor("mobilenet_v1")
    assert {b.activation for b in paper.blocks} == {"relu"} and timm_name(with_activation(paper, "relu6")) == "mobilenetv1_100"
    theirs = scrambled(timm.create_model("mobilenetv1_100", num_classes=7), 1)
    nets = [ss.build(replace(a, classes=7)).eval() for a in (paper, with_activation(paper, "relu6"))]
    for net in nets:
        from_timm(net, theirs.state_dict())
    assert difference(nets[0], theirs) > 0.01 and difference(nets[1], theirs) <= 1e-5


def test_the_comparison_sees_epsilon_and_padding():
    """tf_ nets have the names and shapes of ours, epsilon 1e-3 and padding on one side."""
    theirs = scrambled(timm.create_model("tf_mobilenetv3_small_100", num_classes=7), 1)
    ours = ss.build(ss.anchor("mobilenet_v3_small", classes=7)).eval()
    from_timm(ours, theirs.state_dict())
    assert difference(ours, theirs) > 1e-3
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 1e-5
    assert difference(ours, theirs) > 1e-3  # padding alone
    theirs = scrambled(timm.create_model("mobilenetv3_small_100", num_classes=7, bn_eps=1e-3), 1)
    from_timm(ours, theirs.state_dict())
    assert difference(ours, theirs) > 1e-4  # epsilon alone


def test_gates_keep_their_weights_and_stay_behind():
    a = ss.anchor("mobilenet_v2-0.5-rnn", resolution=SIZE, classes=7)
    net, theirs = ss.build(a).eval(), scrambled(timm.create_model("mobilenetv2_050", num_classes=7), 1)
    before = {k: v.clone() for k, v in net.state_dict().items() if k.startswith("gates.")}
    from_timm(net, theirs.state_dict())
    assert before and all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    every = torch.ones(len(a.gates), dtype=torch.bool)
    assert difference(lambda x: net.run(x, force=every)[0], theirs) <= 1e-5
    assert set(to_timm(net)) == set(theirs.state_dict())


def test_what_is_taken_out_is_a_copy():
    net = ss.build(ss.anchor("mobilenet_v3_small", classes=7))
    state = to_timm(net)
    assert state["conv_head.weight"].shape == (1024, 576, 1, 1)
    before = net.state_dict()["head.classifier.hidden.weight"].clone()
    for t in state.values():
        t.zero_()
    assert torch.equal(net.state_dict()["head.classifier.hidden.weight"], before) and before.abs().sum() > 0


def v2(**other):
    return replace(ss.anchor("mobilenet_v2-0.5", classes=7), **other)


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        (ss.anchor("mobilenet_v3_small-0.5", classes=7), "mobilenetv3_small_050",
         r"conv_stem.weight: is (16, 3, 3, 3) in timm's state, but (8, 3, 3, 3) in this net (stem.0.weight)"),
        (v2(stages=(Stage((replace(v2().blocks[0], out=16),)), *v2().stages[1:])), "mobilenetv2_050",
         r"blocks.0.0.conv_pw.weight: is (8, 16, 1, 1) in timm's state, "
         r"but (16, 16, 1, 1) in this net (blocks.0.project.0.weight)"),
        (v2(classes=10), "mobilenetv2_050",
         r"classifier.weight: is (7, 1280) in timm's state, but (10, 1280) in this net (head.classifier.classes.weight)"),
        (v2(in_channels=1), "mobilenetv2_050",
         r"conv_stem.weight: is (16, 3, 3, 3) in timm's state, but (16, 1, 3, 3) in this net (stem.0.weight)"),
        (v2(stages=(*v2().stages[:3], Stage(v2().stages[3].blocks[:-1]), *v2().stages[4:])), "mobilenetv2_050",
         r"blocks.3.3.conv_pw.weight: is (192, 32, 1, 1) in timm's state, and this net has no place for it"),
        (v2(stages=(*v2().stages[:2], Stage(v2().stages[2].blocks + v2().stages[2].blocks[-1:]), *v2().stages[3:])),
         "mobilenetv2_050",
         r"blocks.2.3.conv_pw.weight: is not in timm's state, but blocks.6.expand.0.weight (96, 16, 1, 1) in this net"),
        (ss.anchor("resnet_20"), "mobilenetv2_050", r"blocks.0: timm's MobileNets have no residual block"),
    ],
    ids=["stem", "width", "classes", "channels", "a block less", "a block more", "family"],
)  # fmt: skip
def test_a_state_of_another_net_is_refused_whole(architecture, name, message):
    net = ss.build(architecture)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError) as refused:
        from_timm(net, timm.create_model(name, num_classes=7).state_dict())
    assert str(refused.value) == message
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_net_that_is_none_of_timms_mobilenets():
    with pytest.raises(UnknownNet, match="timm:resnet18 is no net that has a value here; there are mobilenetv1_100, "):
        timm_architecture("resnet18")
