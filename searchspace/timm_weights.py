"""timm's MobileNets and ours hold the same weights: from and into timm's state, tensor by tensor.

    net = build(timm_architecture("mobilenetv2_100"))            # or anchor("mobilenet_v2"), the same value
    from_timm(net, timm.create_model("mobilenetv2_100", pretrained=True).state_dict())
    timm_net.load_state_dict(to_timm(net))

The logits are the same to 1e-5 of the largest (tests/searchspace/test_timm_weights.py), which proves blocks.py. What a state
does not show was compared too: epsilon 1e-5 in every norm, padding kernel // 2 before strided convolutions as well, and in V3
a hard sigmoid over a squeeze to a quarter, rounded to 8. timm's `tf_` nets hold tensors of the same names and shapes but have
epsilon 1e-3 and pad to one side, so they are other nets. Where timm differs from our anchors:

MobileNetV1   timm has relu6, as TF-slim; the paper (arXiv:1704.04861, section 3.1 and Figure 3) has ReLU, and so has the
              anchor. The value with relu6 is timm's net.
MobileNetV3   timm's small_050 keeps the 16 channels of the first convolution; alpha 0.5 makes them 8 in the anchor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from searchspace.anchors import UnknownNet, anchor
from searchspace.architecture import Architecture, Block, Stage
from searchspace.network import Network
from searchspace.skeletons import squeeze

# timm's name -> our anchor and its width multiplier
NETS = {
    "mobilenetv1_100": ("mobilenet_v1", 1.0),
    "mobilenetv1_100h": ("mobilenet_v1", 1.0),
    "mobilenetv1_125": ("mobilenet_v1", 1.25),
    "mobilenetv2_035": ("mobilenet_v2", 0.35),
    "mobilenetv2_050": ("mobilenet_v2", 0.5),
    "mobilenetv2_075": ("mobilenet_v2", 0.75),
    "mobilenetv2_100": ("mobilenet_v2", 1.0),
    "mobilenetv2_140": ("mobilenet_v2", 1.4),
    "mobilenetv3_large_075": ("mobilenet_v3_large", 0.75),
    "mobilenetv3_large_100": ("mobilenet_v3_large", 1.0),
    "mobilenetv3_small_050": ("mobilenet_v3_small", 0.5),
    "mobilenetv3_small_075": ("mobilenet_v3_small", 0.75),
    "mobilenetv3_small_100": ("mobilenet_v3_small", 1.0),
}
# our layer, timm's convolution, timm's norm
_SEPARABLE = (("depthwise", "conv_dw", "bn1"), ("pointwise", "conv_pw", "bn2"))
_UNEXPANDED = (("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2"))
_INVERTED = (("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3"))
_HIDDEN = "head.classifier.hidden.weight"  # timm's is a 1x1 convolution on the pooled map: (out, in, 1, 1)


class WeightsError(ValueError):
    """A state that is not this net's; the message names the first tensor."""


def timm_architecture(
    name: str, resolution: int | None = None, classes: int | None = None, in_channels: int = 3, min_map: int = 2
) -> Architecture:
    """The value that timm's net of that name is (a key of NETS; UnknownNet for any other). At resolutions that leave the last
    map at least `min_map` pixels it computes what timm's computes; below, strides are dropped as in our anchors, and a block
    that keeps its width gains a shortcut with that (V3-Small's first)."""
    if name not in NETS:
        raise UnknownNet(f"timm:{name} is no net that has a value here; there are {', '.join(NETS)}")
    base, alpha = NETS[name]
    net = anchor(base, alpha, resolution, classes, in_channels, min_map)
    if base == "mobilenet_v1":
        net = with_activation(net, "relu6")
    if name == "mobilenetv1_100h":  # h: a last 1x1 convolution before the pooling
        net = replace(net, head=replace(net.head, conv=1024))
    return _with_whole_stem(net) if name == "mobilenetv3_small_050" else net


def timm_name(architecture: Architecture) -> str | None:
    """timm's net that has the blocks of this one, its activations included; None where timm has none. Strides, resolution,
    classes, channels of the image and gates may differ: no weight but those of the first and last layer hangs on them."""
    sought = _what_weights_see(architecture)
    return next((name for name in NETS if _what_weights_see(timm_architecture(name)) == sought), None)


def with_activation(architecture: Architecture, activation: str) -> Architecture:
    """The same net with one activation everywhere."""
    a = architecture
    stages = tuple(Stage(tuple(replace(b, activation=activation) for b in s.blocks)) for s in a.stages)
    stem, head = replace(a.stem, activation=activation), replace(a.head, activation=activation)
    return replace(a, stem=stem, stages=stages, head=head)


def from_timm(net: Network, state: Mapping[str, Tensor]) -> None:
    """Loads a timm net's state into `net`, all of it or, at a WeightsError, nothing. Names and shapes are checked; a state
    says nothing of activations: `timm_name(net.architecture)` does. Gates keep their own weights. For another number of
    classes or channels ask timm: `create_model(..., num_classes=, in_chans=)` adapts pretrained weights."""
    own = net.state_dict()
    found: dict[str, Tensor] = {}
    known: set[str] = set()
    for mine, theirs in _tensors(net):
        shape = tuple(own[mine].shape) + ((1, 1) if mine == _HIDDEN else ())
        if theirs not in state:
            raise WeightsError(f"{theirs}: is not in timm's state, but {mine} {shape} in this net")
        if tuple(state[theirs].shape) != shape:
            raise WeightsError(f"{theirs}: is {tuple(state[theirs].shape)} in timm's state, but {shape} in this net ({mine})")
        found[mine] = state[theirs].reshape(own[mine].shape)
        known.add(theirs)
    if more := next((name for name in state if name not in known), None):
        raise WeightsError(f"{more}: is {tuple(state[more].shape)} in timm's state, and this net has no place for it")
    net.load_state_dict(found, strict=False)  # what is missing are gates


def to_timm(net: Network) -> dict[str, Tensor]:
    """The state of timm's net (`timm_name(net.architecture)`), as copies. Gates, which timm does not have, stay behind: it is
    the net with all of them open. WeightsError for a net of other blocks than the MobileNets'."""
    own = net.state_dict()
    state = {theirs: own[mine].detach().clone() for mine, theirs in _tensors(net)}
    if net.architecture.head.hidden:
        state["conv_head.weight"] = state["conv_head.weight"][:, :, None, None]
    return state


def _with_whole_stem(net: Architecture) -> Architecture:
    """V3-Small with 16 channels into its first block, which has no expansion."""
    first = replace(net.blocks[0], hidden=16, se=squeeze(16))
    return replace(net, stem=replace(net.stem, out=16), stages=(Stage((first, *net.stages[0].blocks[1:])), *net.stages[1:]))


def _what_weights_see(architecture: Architecture) -> Architecture:
    """The net without what leaves weights as they are."""
    a = architecture.without_gates()
    stages = tuple(Stage(tuple(replace(b, stride=1) for b in s.blocks)) for s in a.stages)
    head = a.head if a.head.conv or a.head.hidden else replace(a.head, activation="relu")
    return replace(a, stem=replace(a.stem, stride=1), stages=stages, head=head, resolution=1, classes=1, in_channels=1)


def _tensors(net: Network) -> Iterator[tuple[str, str]]:
    """(our tensor, timm's) in the order of the net."""
    for mine, theirs in _layers(net.architecture):
        for tensor in net.get_submodule(mine).state_dict():
            yield f"{mine}.{tensor}", f"{theirs}.{tensor}"


def _layers(a: Architecture) -> Iterator[tuple[str, str]]:
    """(our convolution, norm or linear layer, timm's) in the order of the net."""
    yield from (("stem.0", "conv_stem"), ("stem.1", "bn1"))
    inputs, i = iter(a.widths_in), 0
    for s, stage in enumerate(a.stages):
        for j, block in enumerate(stage.blocks):
            for mine, theirs in _of_block(block, next(inputs), i):
                yield f"blocks.{i}.{mine}", f"blocks.{s}.{j}.{theirs}"
            i += 1
    if a.head.conv:  # V3's stands in a stage of its own, before the pooling
        last = ("conv_head", "bn2") if not a.head.hidden else (f"blocks.{len(a.stages)}.0.conv", f"blocks.{len(a.stages)}.0.bn1")
        yield from zip(("head.conv.0", "head.conv.1"), last, strict=True)
    if a.head.hidden:
        yield "head.classifier.hidden", "conv_head"
    yield "head.classifier.classes", "classifier"


def _of_block(block: Block, channels_in: int, at: int) -> Iterator[tuple[str, str]]:
    if block.family not in ("separable", "inverted"):
        raise WeightsError(f"blocks.{at}: timm's MobileNets have no {block.family} block")
    layers = _SEPARABLE if block.family == "separable" else _UNEXPANDED if block.hidden == channels_in else _INVERTED
    for mine, conv, norm in layers:
        if block.se and mine == layers[-1][0]:
            yield from (("excite.reduce", "se.conv_reduce"), ("excite.expand", "se.conv_expand"))
        yield from ((f"{mine}.0", conv), (f"{mine}.1", norm))
