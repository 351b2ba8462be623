"""The lecture's classics: their counts against the papers, their names, and that they export as they compute."""

import pytest
import torch
from torch import nn

import searchspace as ss
from hardware.export import parity, to_onnx
from hardware.meter import Meter
from searchspace.anchors import LISTS, MODULES, UnknownNet, anchor
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.classics import MAKERS
from searchspace.classics.alexnet import AlexNet
from searchspace.classics.shufflenet_v1 import CHANNELS, ShuffleNetV1, shuffled
from searchspace.inputs import input_of, own_resolution
from searchspace.named import check


def counted(name, resolution=None):
    with torch.device("meta"):
        net = ss.resolve(name, resolution)
    return ss.count(net, input_of(net, resolution))


def millions(name, resolution=None):
    c = counted(name, resolution)
    return c.macs / 1e6, c.params / 1e6


def test_alexnet():
    """Layer by layer from the shapes that section 3.5 states; the lecture prints 720 M and 60 M."""
    c, ungrouped = counted("alexnet"), counted("alexnet-ungrouped")
    convolutions = 55**2 * 96 * 363 + 27**2 * 256 * 1200 + 13**2 * (384 * 2304 + 384 * 1728 + 256 * 1728)
    linear = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    assert (c.by_type["conv"].macs, c.by_type["linear"].macs) == (convolutions, linear) and c.macs == 724_406_816
    assert round(c.params / 1e6, 2) == 60.97 and round(ungrouped.params / 1e6, 2) == 62.38
    assert round(ungrouped.macs / 1e6, 2) == 1135.26
    assert round(1 - c.macs / ungrouped.macs, 2) == 0.36  # what the group convolution saves
    tower = counted("torchvision:alexnet", 224)  # another net: one tower, 64 and 192 maps
    assert round(tower.macs / 1e6, 2) == 714.19 and round(tower.params / 1e6, 2) == 61.10


def test_alexnets_maps_and_normalisation():
    net = AlexNet(classes=5, resolution=227)
    kinds = [type(m).__name__.removesuffix("2d") for m in net.features]
    first = ["Conv", "ReLU", "LocalNorm", "MaxPool"]
    assert kinds == [*first, *first, *["Conv", "ReLU"] * 3, "MaxPool"]  # sections 3.3 to 3.5
    x, sizes = torch.zeros(1, 3, 227, 227), []
    for m in net.features:
        x = m(x)
        if isinstance(m, (nn.Conv2d, nn.MaxPool2d)):
            sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6)]
    # section 3.3's equation, written out
    a = torch.rand(1, 7, 1, 1) * 90
    want = [a[0, i] / (2 + 1e-4 * a[0, max(0, i - 2) : i + 3].square().sum()) ** 0.75 for i in range(7)]
    assert torch.allclose(net.features[2](a)[0], torch.stack(want), rtol=1e-5)


@pytest.mark.parametrize(
    ("groups", "macs_m", "printed", "params_m"),
    [(1, 143.08, 143, 1.53), (2, 140.84, 140, 1.73), (3, 137.46, 137, 1.87), (4, 134.34, 133, 1.97), (8, 138.37, 137, 2.43)],
)
def test_shufflenet_v1(groups, macs_m, printed, params_m):
    """arXiv:1707.01083, Table 1 (channels) and Table 2 (complexity, which the paper cuts off or rounds)."""
    macs, params = millions(f"shufflenet_v1-g{groups}")
    assert (round(macs, 2), round(params, 2)) == (macs_m, params_m) and abs(macs - printed) < 1.4
    net, out = ShuffleNetV1(groups=groups), []
    assert [len(list(net.units)), net.units[0].reduce[0].groups, net.units[1].reduce[0].groups] == [16, 1, groups]
    x = net.stem(torch.zeros(1, 3, 224, 224))
    assert x.shape == (1, 24, 56, 56)
    for unit in net.units:
        x = unit(x)
        out.append(tuple(x.shape[1:3]))
    first = CHANNELS[groups]
    assert out == [(first, 28)] * 4 + [(2 * first, 14)] * 8 + [(4 * first, 7)] * 4


@pytest.mark.parametrize(("scale", "macs_m", "printed"), [(0.25, 13.3, 13), (0.5, 37.6, 38), (1.5, 292.4, 292), (2, 524.0, 524)])
def test_shufflenet_v1_scaled(scale, macs_m, printed):
    macs, params = millions(f"shufflenet_v1-g3-{scale}")
    assert round(macs, 1) == macs_m and round(macs) == printed
    if scale >= 1.5:  # MobileNetV2's Table 4 has them
        assert round(params, 3) == {1.5: 3.442, 2: 5.451}[scale]


@pytest.mark.parametrize("groups", CHANNELS)
@pytest.mark.parametrize("scale", [0.25, 0.3, 0.5, 0.77, 1.0, 3.0])
def test_shufflenet_v1_builds_at_any_scale(groups, scale):
    net = ShuffleNetV1(7, 1, groups, scale).eval()
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 7)


def test_the_shuffle_mixes_all_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffled(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    # every output of a pair of grouped layers sees every input with the shuffle between, a group's alone without
    pair = [nn.Conv2d(12, 12, 1, groups=3, bias=False), nn.Conv2d(12, 12, 1, groups=3, bias=False)]
    for between, seen in ((shuffled, 12), (lambda y, g: y, 4)):
        x = torch.randn(1, 12, 1, 1, requires_grad=True)
        pair[1](between(pair[0](x), 3))[0, 0].sum().backward()
        assert int((x.grad != 0).sum()) == seen


def test_nasnet_a():
    """arXiv:1707.07012: 564 M and 5.3 M, and to the unit what the authors' code has."""
    c = counted("nasnet_a")
    assert c.params == 5_289_978 and round(c.macs / 1e6, 3) == 563.639
    net = ss.resolve("nasnet_a-64")
    x = net.stem(torch.zeros(1, 3, 224, 224))
    h, p, shapes = x, x, []
    for cell in net.eval().cells:
        h, p = cell(h, p), h
        shapes.append(tuple(h.shape[1:3]))
    assert shapes == [(44, 56), (88, 28), *[(264, 28)] * 4, (352, 14), *[(528, 14)] * 4, (704, 7), *[(1056, 7)] * 4]


def test_the_libraries_nets():
    """What the papers print and why ours differ from it: VGG's 15,300 M are its convolutions, torchvision's GoogLeNet has 3x3
    kernels where the paper has 5x5, and SqueezeNet's 1,700 M count two operations a mult-add (so the lecture's 22 times less
    than MobileNet are 11)."""
    vgg = counted("torchvision:vgg16", 224)
    assert (round(vgg.macs / 1e6, 1), round(vgg.params / 1e6, 2)) == (15470.3, 138.36)
    assert round(vgg.by_type["conv"].macs / 1e6, 1) == 15346.6
    macs, params = millions("torchvision:googlenet", 224)
    assert (round(macs, 2), round(params, 3)) == (1498.38, 6.625)
    macs, params = millions("torchvision:squeezenet1_0", 227)
    assert (round(macs, 1), round(params, 4)) == (832.7, 1.2484) and abs(2 * macs - 1700) < 40
    small = millions("mobilenet_v1-0.5-160")[0]
    assert round(macs / small) == 11 and round(2 * macs / small) == 22
    assert round(millions("torchvision:squeezenet1_0", 224)[0], 1) == 818.9
    macs, params = millions("torchvision:shufflenet_v2_x1_0", 224)
    assert (round(macs, 1), round(params, 3)) == (144.9, 2.279)


def test_names():
    assert set(MODULES) == set(MAKERS)
    for name, pixels in (("alexnet", 227), ("alexnet-ungrouped", 227), ("shufflenet_v1", 224), ("nasnet_a-160", 160)):
        check(name)
        with torch.device("meta"):
            assert own_resolution(ss.resolve(name)) == pixels
    with torch.device("meta"):
        assert own_resolution(ss.resolve("nasnet_a", resolution=96)) == 96
        assert own_resolution(ss.resolve("nasnet_a-160", resolution=96)) == 160  # the name's goes first
        net = ss.resolve("shufflenet_v1-g8-0.5-64", classes=7, in_channels=1)
    assert (net.resolution, net.units[0].groups, net.classifier.out_features) == (64, 8, 7)
    assert input_of(net) == (1, 1, 64, 64)
    assert millions("shufflenet_v1") == millions("shufflenet_v1-g3") == millions("shufflenet_v1-1.0-g3")


@pytest.mark.parametrize(
    ("name", "words"),
    [("alexnt", "alexnet"), ("nasnet", "nasnet_a"), ("shufflenet-g3", "shufflenet_v1"), ("alexnet-0.5", "ungrouped"),
     ("shufflenet_v1-g5", "g1, g2, g3, g4, g8"), ("nasnet_a-rnn", "a resolution"), ("nasnet_a-160-96", "twice")],
)  # fmt: skip
def test_wrong_names(name, words):
    for use in (check, ss.resolve):
        with pytest.raises(UnknownNet, match=words):
            use(name)


def test_what_they_are_not():
    with pytest.raises(ArchitectureError, match=r"scale: 0 in 'shufflenet_v1-g3-0\.0'"):
        check("shufflenet_v1-g3-0.0")
    with pytest.raises(ArchitectureError, match="at most 1024 pixels, not 5000"):
        ss.resolve("alexnet-5000")
    with pytest.raises(UnknownNet, match=r"searchspace\.resolve makes it"):
        anchor("alexnet")
    with pytest.raises(ArchitectureError, match="at least 67 pixels, not 32"):
        ss.resolve("alexnet", resolution=32)
    with torch.device("meta"):
        least = AlexNet(resolution=67)
        assert least(torch.zeros(1, 3, 67, 67)).shape == (1, 1000)
        with pytest.raises(RuntimeError, match="too small"):
            least.features(torch.zeros(1, 3, 66, 66))


SMALL = ("alexnet-67", "alexnet-ungrouped-80", "shufflenet_v1-g1-32", "shufflenet_v1-g3-0.5-45", "shufflenet_v1-g8-0.25-32",
         "nasnet_a-32", "nasnet_a-45")  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_gradient_everywhere_and_a_file_that_computes_the_same(name):
    torch.manual_seed(0)
    net = ss.resolve(name, classes=6, in_channels=1)
    size = net.resolution
    loss = (net(torch.randn(4, 1, size, size)) * torch.randn(4, 6)).sum()
    loss.backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()] == []
    net.eval()
    images = torch.randint(0, 256, (3, 1, size, size), dtype=torch.uint8).numpy()
    assert parity(net, to_onnx(net, (1, 1, size, size)), images) < 1e-5


@pytest.mark.parametrize("name", ["alexnet", "shufflenet_v1-g3", "nasnet_a"])
def test_untrained_activations_neither_vanish_nor_explode(name):
    """Denormal numbers are slow: an untrained net would be measured slower than any trained one."""
    torch.manual_seed(0)
    net = ss.resolve(name).eval()
    with torch.no_grad():
        size = net(torch.randn(input_of(net))).square().mean().sqrt()
    assert 1e-3 < size < 1e6


def test_the_lectures_list():
    """Every net of `classics` has a name that can be, and is counted at its paper's size."""
    for name in LISTS["classics"]:
        check(name)
        if ":" in name:
            continue  # counted above, but for timm's
        with torch.device("meta"):
            net = ss.resolve(name)
        assert isinstance(net, Architecture) or name.split("-")[0] in MODULES
        assert ss.count(net).macs > 40e6
    assert round(millions("timm:mobilenetv4_conv_small", 224)[0], 1) == 186.0


def test_they_are_measured_by_name_with_their_own_pixels():
    with Meter("cpu", runtime="eager", rounds=2, max_rounds=2, spread_s=0) as meter:
        one, two = meter.measure(["shufflenet_v1-g3-0.25-32", "alexnet-67"], (1, 3, 224, 224))
    assert (one.process, one.runtime, two.process) == ("own", "eager", "own")
    with Meter("cpu", rounds=2, max_rounds=2, spread_s=0) as meter:
        (row,) = meter.measure([ss.resolve("shufflenet_v1-g3-0.25-32")])  # no input_shape: the module says it
    assert row.process == "own" and row.parity < 1e-4
