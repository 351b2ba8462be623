"""The classic nets as Architecture values: MobileNetV1, V2, V3, ResNet/SkipNet for CIFAR and ImageNet. Standard library only.

    anchor("mobilenet_v1-0.25")                        # 224 px and 1000 classes, the paper's
    anchor("mobilenet_v2", alpha=0.5, resolution=160)  # the same as "mobilenet_v2-0.5-160"
    anchor("skipnet_38-rnn")                           # 32 px and 10 classes
    anchor("skipnet_50-rnn")                           # ImageNet's: 224 px and 1000 classes (34, 50, 101)

A name is NAME[-ALPHA][-RESOLUTION][-GATE]. On small images strides are dropped as in the search space, so that the anchors
are points of it. Sources: arXiv:1704.04861 (V1), 1801.04381 (V2), 1905.02244 v5 (V3), 1512.03385 and 1711.09485 (ResNet,
SkipNet: every block but the first carries a gate, the strided ones included).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import Any

from searchspace.architecture import GATES, Architecture, ArchitectureError, Block, Head, Stage, Stem
from searchspace.published import MOBILENETS
from searchspace.skeletons import SKELETONS, divisible, fitting_strides, squeeze

# those of the two papers; any depth 6n+2 is a name, but for 50: that is ImageNet's
DEPTHS = (20, 32, 38, 44, 56, 74, 110, 152)
# ImageNet's (arXiv:1512.03385, Table 1): blocks a stage, and whether they are bottlenecks
IMAGENET = {34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}
NAMES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
         *(f"{kind}_{depth}" for kind in ("resnet", "skipnet") for depth in (*DEPTHS, *IMAGENET)))  # fmt: skip
MODULES = ("alexnet", "shufflenet_v1", "nasnet_a")  # known by name too, but no Architectures: searchspace/classics
LISTS = {
    "small": ("mobilenet_v1-0.25", "mobilenet_v2-0.5", "skipnet_20-rnn"),
    "mobile": (
        "mobilenet_v1-0.25",
        "mobilenet_v1-0.5",
        "mobilenet_v2-0.5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "resnet_20",
        "skipnet_20-rnn",
    ),
    "classics": (  # the nets of the lecture, at the papers' sizes
        "alexnet",
        "torchvision:vgg16",
        "torchvision:googlenet",
        "torchvision:squeezenet1_0",
        "shufflenet_v1-g3",
        "torchvision:shufflenet_v2_x1_0",
        "nasnet_a",
        "mobilenet_v1",
        "mobilenet_v1-0.5-160",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "timm:mobilenetv4_conv_small",
        "resnet_38",
        "skipnet_38-rnn",
    ),
    "mobilenets": MOBILENETS,  # all versions, widths and resolutions of which an accuracy is published
    "none": (),
}
SKIP_ALPHA = 0.1  # the default of SkipNet's CIFAR code
# MobileNetV3, Tables 1 and 2: kernel, expanded width, width out, SE, late activation, stride
_V3_LARGE = (
    ((3, 16, 16, 0, 0, 1),), ((3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1)),
    ((5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1)),
    ((3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)),
    ((3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)),
    ((5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
)  # fmt: skip
_V3_SMALL = (
    ((3, 16, 16, 1, 0, 2),), ((3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1)),
    ((5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1)), ((5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)),
    ((5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1)),
)  # fmt: skip


class UnknownNet(ValueError):
    """No net of that name; the message holds the nearest names."""


def anchor(
    name: str,
    alpha: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
    in_channels: int = 3,
    min_map: int = 2,
    gate: str | None = None,
    skip_alpha: float = SKIP_ALPHA,
) -> Architecture:
    """The named net. What the name does not say comes from the arguments, and what these leave open from the paper.

    Raises UnknownNet (with the nearest names) and ArchitectureError (a gate on a net without shortcuts, say)."""
    base, said = _parse(name)
    residual = base.startswith(("resnet_", "skipnet_"))
    layers = int(base.split("_")[1]) if residual else 0
    small = residual and layers not in IMAGENET
    alpha = _agreed(name, "alpha", said, alpha, 1.0)
    resolution = _agreed(name, "resolution", said, resolution, 32 if small else 224)
    gate = _agreed(name, "gate", said, gate, "rnn" if base.startswith("skipnet_") else "none")
    classes = (10 if small else 1000) if classes is None else classes
    if not 0 < alpha <= 4:
        raise ArchitectureError("alpha", f"{alpha:g} is not a width multiplier in (0, 4]")
    if gate not in ("none", *GATES):
        raise ArchitectureError("gate", f"{gate!r} is not one of none, {', '.join(GATES)}")
    if base.startswith("mobilenet_v3"):
        net = _mobilenet_v3(base.endswith("large"), alpha, resolution, classes, in_channels, min_map)
    elif layers in IMAGENET:
        net = _imagenet_resnet(layers, alpha, resolution, classes, in_channels, min_map)
    else:
        depth = (layers - 2) // 6 if small else None
        net = _from_skeleton("resnet" if small else base, depth, alpha, resolution, classes, in_channels, min_map)
    return net if gate == "none" else _gated(net, gate, skip_alpha)


def _agreed(name: str, key: str, said: dict[str, Any], given: Any, default: Any) -> Any:
    """What the name says, what the argument says where the name is silent, else the default. A resolution given beside a
    name that has its own yields to it (a study gives its data's); another alpha or gate is a contradiction."""
    if key in said and given is not None and given != said[key] and key != "resolution":
        raise ArchitectureError(key, f"{name!r} says {said[key]}, the argument {given}")
    value = said.get(key, given)
    return default if value is None else value


def _parse(name: str) -> tuple[str, dict[str, Any]]:
    base, *rest = name.split("-")
    near: Any
    if depth := re.fullmatch(r"(?:resnet|skipnet)_(\d+)", base):
        n, rest_of_it = divmod(int(depth[1]) - 2, 6)
        imagenet = depth[1] in map(str, IMAGENET)
        if (not imagenet and (n < 1 or rest_of_it)) or base != f"{base.split('_')[0]}_{int(depth[1])}":
            near = sorted((d for d in range(8, 260, 6) if d != 50), key=lambda d: abs(d - int(depth[1])))[:2]
            raise UnknownNet(
                f"{name!r}: the depth of a CIFAR ResNet is 6n+2, as in {' or '.join(map(str, sorted(near)))}; "
                f"ImageNet's are {', '.join(map(str, IMAGENET))}"
            )
    elif base in MODULES:
        raise UnknownNet(f"{name!r} is a module, not an Architecture: searchspace.resolve makes it")
    elif base not in NAMES:
        known = (*NAMES, *MODULES)
        near = difflib.get_close_matches(base, known, 3, 0.5)
        raise UnknownNet(
            f"{name!r} is no known net" + (f"; did you mean {', '.join(near)}?" if near else f"; there are {', '.join(known)}")
        )
    said: dict[str, Any] = {}
    key: str
    value: Any
    for part in rest:
        if part in GATES:
            key, value = "gate", part
        elif re.fullmatch(r"\d+\.\d*|[1-4]", part):
            key, value = "alpha", float(part)
        elif re.fullmatch(r"\d+", part):
            key, value = "resolution", int(part)
        else:
            raise UnknownNet(f"{name!r}: {part!r} is no alpha (0.5), resolution (160) or gate ({', '.join(GATES)})")
        if key in said:
            raise UnknownNet(f"{name!r} says its {key} twice")
        said[key] = value
    return base, said


def _from_skeleton(
    name: str, depth: int | None, alpha: float, resolution: int, classes: int, in_channels: int, min_map: int
) -> Architecture:
    skeleton = SKELETONS[name]
    stem, widths, head = skeleton.widths(alpha)
    strides = fitting_strides([skeleton.stem_stride, *(s.stride for s in skeleton.stages)], resolution, min_map)
    act, channels, stages = skeleton.activation, stem, []
    for plan, width, stride in zip(skeleton.stages, widths, strides[1:], strict=True):
        blocks = []
        for j in range(depth or plan.depth):
            hidden = 0
            if plan.family == "inverted":
                hidden = divisible(channels * plan.expansion) if plan.expansion > 1 else channels
            blocks.append(Block(plan.family, width, stride if j == 0 else 1, hidden=hidden, activation=act))
            channels = width
        stages.append(Stage(tuple(blocks)))
    return Architecture(
        Stem(stem, 3, strides[0], act), tuple(stages), Head(head, 0, act if head else "relu"), resolution, classes, in_channels
    )


def _imagenet_resnet(layers: int, alpha: float, resolution: int, classes: int, in_channels: int, min_map: int) -> Architecture:
    """7x7 convolution, max pooling, four stages (arXiv:1512.03385, Table 1); what strides on small images: skeletons.py."""
    depths, narrow = IMAGENET[layers]
    stem_stride, pool_stride, *strides = fitting_strides([2, 2, 1, 2, 2, 2], resolution, min_map)
    stem = Stem(divisible(64 * alpha), 7, stem_stride, "relu", 3 if pool_stride > 1 else 0)
    stages = []
    for width, depth, stride in zip((64, 128, 256, 512), depths, strides, strict=True):
        inside = divisible(width * alpha)
        block = Block("bottleneck", 4 * inside, hidden=inside) if narrow else Block("residual", inside)
        stages.append(Stage((replace(block, stride=stride), *[block] * (depth - 1))))
    return Architecture(stem, tuple(stages), Head(), resolution, classes, in_channels)


def _mobilenet_v3(large: bool, alpha: float, resolution: int, classes: int, in_channels: int, min_map: int) -> Architecture:
    table = _V3_LARGE if large else _V3_SMALL
    strides = fitting_strides([2, *(rows[0][5] for rows in table)], resolution, min_map)
    stages, widest = [], 0
    before, channels = 16, divisible(16 * alpha)  # into a block: at alpha 1, here
    for rows, stride in zip(table, strides[1:], strict=True):
        blocks = []
        for j, (kernel, expanded, out, se, late, _) in enumerate(rows):
            # an expansion is a factor of the width that comes in, as in the authors' code: so alpha 0.75 has the 155 M of
            # Table 3; where the table's expanded widths are multiplied by alpha (torchvision), it has 141 M
            hidden = divisible(channels * expanded / before)
            blocks.append(Block("inverted", divisible(out * alpha), stride if j == 0 else 1, kernel, hidden,
                                squeeze(hidden) if se else 0, "h_swish" if late else "relu"))  # fmt: skip
            before, channels = out, blocks[-1].out
            widest = 6 * channels  # the last 1x1 convolution widens sixfold: 960 and 576 at alpha 1
        stages.append(Stage(tuple(blocks)))
    head = Head(divisible(widest), divisible((1280 if large else 1024) * max(1.0, alpha)), "h_swish")
    return Architecture(
        Stem(divisible(16 * alpha), 3, strides[0], "h_swish"), tuple(stages), head, resolution, classes, in_channels
    )


def _gated(net: Architecture, gate: str, skip_alpha: float) -> Architecture:
    """Gates on every block that can be skipped and has a block before it. RNN gates share their core over all blocks,
    feed-forward gates stand one per block, as SkipNet has them (section 3.1)."""
    stages, before, first = [], net.stem.out, True
    for stage in net.stages:
        blocks = []
        for block in stage.blocks:
            skips = not first and block.has_shortcut(before)
            blocks.append(replace(block, gate=gate) if skips else block)
            before, first = block.out, False
        stages.append(Stage(tuple(blocks)))
    if all(b.gate == "" for s in stages for b in s.blocks):
        raise ArchitectureError("gate", "this net has no block with a shortcut, so there is nothing to skip")
    gated = replace(net, stages=tuple(stages), gate_sharing="per_block", skip_alpha=skip_alpha)
    return replace(gated, gate_sharing="shared") if gate == "rnn" and gated.sharable else gated
