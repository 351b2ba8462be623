"""What the papers print of the classic nets: top-1, mult-adds, parameters, each with its source, and what is known to be wrong
in it. Standard library only.

    published("mobilenet_v1-0.5")    # Published(top1=63.7, macs_m=149, params_m=1.3, source="arXiv:1704.04861, Table 6")
    published("mobilenet_v2-rnn")    # None: no paper has it

Numbers stand as printed, slips included; what the layers give is counted (searchspace/complexity.py), never typed in here.
Where a paper plots a size without tabulating it, the entry is that of TF-slim's checkpoint, and its source says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """top1 in percent on `data`; mult-adds and parameters in millions, None where the source prints none. `resolution`: pixels
    of the images; `kept`: percent of the blocks that ran (gated nets; the first block, without a gate, counts as
    kept); `slip`: what is wrong or odd in it."""

    top1: float
    macs_m: float | None
    params_m: float | None
    source: str
    data: str = "ImageNet"
    resolution: int = 224
    kept: float | None = None
    slip: str = ""


RESOLUTION = 224  # of nets for ImageNet, where nobody says another
V1, V2, V3 = "arXiv:1704.04861", "arXiv:1801.04381", "arXiv:1905.02244 v5"
SLIM_V1 = "TF-slim checkpoint 2018-02-22, tensorflow/models research/slim/nets/mobilenet_v1.md"
SLIM_V2 = "TF-slim checkpoint, tensorflow/models research/slim/nets/mobilenet/README.md"
SHUFFLE_1, SHUFFLE_2 = "arXiv:1707.01083", "arXiv:1807.11164"
SHUFFLE_2_CODE = "authors' repository, megvii-model/ShuffleNet-Series ShuffleNetV2/README.md"
SKIPNET, SKIPNET_CODE = "arXiv:1711.09485", "authors' repository, ucbdrive/skipnet README (RNN gate, after HRL)"

_NO_STEM = "its mult-adds leave the first convolution out"
# alpha, resolution, top-1, mult-adds, parameters, source, slip
_MOBILENET_V1 = (
    (1.0, 224, 70.6, 569, 4.2, f"{V1}, Table 6", ""),
    (1.0, 192, 69.1, 418, 4.2, f"{V1}, Table 7", ""),
    (1.0, 160, 67.2, 290, 4.2, f"{V1}, Table 7", ""),
    (1.0, 128, 64.4, 186, 4.2, f"{V1}, Table 7", ""),
    (0.75, 224, 68.4, 325, 2.6, f"{V1}, Table 6", ""),
    (0.75, 192, 67.2, 233, 2.59, SLIM_V1, _NO_STEM),
    (0.75, 160, 65.3, 162, 2.59, SLIM_V1, _NO_STEM),
    (0.75, 128, 62.1, 104, 2.59, SLIM_V1, _NO_STEM),
    (0.5, 224, 63.7, 149, 1.3, f"{V1}, Table 6", ""),
    (0.5, 192, 61.7, 110, 1.34, SLIM_V1, ""),
    (0.5, 160, 60.2, 76, 1.32, f"{V1}, Table 9", ""),
    (0.5, 128, 56.3, 49, 1.34, SLIM_V1, ""),
    (0.25, 224, 50.6, 41, 0.5, f"{V1}, Table 6", ""),
    (0.25, 192, 47.7, 34, 0.47, SLIM_V1, "34 M is not what its layers give (30 M)"),
    (0.25, 160, 45.5, 21, 0.47, SLIM_V1, ""),
    (0.25, 128, 41.5, 14, 0.47, SLIM_V1, ""),
)
_MOBILENET_V2 = (
    (1.4, 224, 74.7, 585, 6.9, f"{V2}, Table 4", "6.9 M parameters is not what its layers give (6.1 M; TF-slim prints 6.06 M)"),
    (1.3, 224, 74.4, 509, 5.34, SLIM_V2, ""),
    (1.0, 224, 72.0, 300, 3.4, f"{V2}, Table 4", ""),
    (1.0, 192, 70.7, 221, 3.47, SLIM_V2, ""),
    (1.0, 160, 68.8, 154, 3.47, SLIM_V2, ""),
    (1.0, 128, 65.3, 99, 3.47, SLIM_V2, ""),
    (1.0, 96, 60.3, 56, 3.47, SLIM_V2, ""),
    (0.75, 224, 69.8, 209, 2.61, SLIM_V2, ""),
    (0.75, 192, 68.7, 153, 2.61, SLIM_V2, ""),
    (0.75, 160, 66.4, 107, 2.61, SLIM_V2, ""),
    (0.75, 128, 63.2, 69, 2.61, SLIM_V2, ""),
    (0.75, 96, 58.8, 39, 2.61, SLIM_V2, ""),
    (0.5, 224, 65.4, 97, 1.95, SLIM_V2, ""),
    (0.5, 192, 63.9, 71, 1.95, SLIM_V2, ""),
    (0.5, 160, 61.0, 50, 1.95, SLIM_V2, ""),
    (0.5, 128, 57.7, 32, 1.95, SLIM_V2, ""),
    (0.5, 96, 51.2, 18, 1.95, SLIM_V2, ""),
    (0.35, 224, 60.3, 59, 1.66, SLIM_V2, ""),
    (0.35, 192, 58.2, 43, 1.66, SLIM_V2, ""),
    (0.35, 160, 55.7, 30, 1.66, SLIM_V2, ""),
    (0.35, 128, 50.8, 20, 1.66, SLIM_V2, ""),
    (0.35, 96, 45.5, 11, 1.66, SLIM_V2, ""),
)
# what no other slip of a source explains stands with the net; those of a whole table follow below
SLIPS: dict[str, str] = {
    "table_1": "Table 1 prints stride 2 for the last depthwise layer, with 7x7 in and 7x7 out: it is 1",
    "table_2": "Table 2 prints 1.19 % of the mult-adds for the 3x3 convolution: two digits of 1.91 are swapped, and the column "
    "sums to 99.29 %",
    "squeezenet": "1700 M counts two operations a mult-add",
    "ff1": "the paper says \"roughly 19 %\", which the layers in its text and code do not give",
}  # fmt: skip

PUBLISHED: dict[str, Published] = {
    **{f"mobilenet_v1-{a}-{r}": Published(t, m, p, s, resolution=r, slip=w) for a, r, t, m, p, s, w in _MOBILENET_V1},
    **{f"mobilenet_v2-{a}-{r}": Published(t, m, p, s, resolution=r, slip=w) for a, r, t, m, p, s, w in _MOBILENET_V2},
    "mobilenet_v3_large-1.0-224": Published(75.2, 219, 5.4, f"{V3}, Table 3"),
    "mobilenet_v3_large-0.75-224": Published(73.3, 155, 4.0, f"{V3}, Table 3"),
    "mobilenet_v3_small-1.0-224": Published(67.4, 56, 2.5, f"{V3}, Table 3"),
    "mobilenet_v3_small-0.75-224": Published(65.4, 44, 2.0, f"{V3}, Table 3", slip="TF-slim prints 2.4 M parameters"),
    "timm:mobilenetv4_conv_small": Published(73.8, 200, 3.8, "arXiv:2404.10518, ImageNet table"),
    # its other columns were not at hand to be copied
    "timm:mobilenetv4_conv_medium": Published(79.9, None, None, "arXiv:2404.10518, ImageNet table", resolution=256),
    # errors of ShuffleNetV1's Table 2 (scale 1x), complexity of its Table 1
    "shufflenet_v1-g1": Published(66.4, 143, None, f"{SHUFFLE_1}, Tables 1 and 2"),
    "shufflenet_v1-g2": Published(67.3, 140, None, f"{SHUFFLE_1}, Tables 1 and 2"),
    "shufflenet_v1-g3": Published(67.4, 137, None, f"{SHUFFLE_1}, Tables 1 and 2"),
    "shufflenet_v1-g4": Published(67.2, 133, None, f"{SHUFFLE_1}, Tables 1 and 2"),
    "shufflenet_v1-g8": Published(67.6, 137, None, f"{SHUFFLE_1}, Tables 1 and 2"),
    "torchvision:shufflenet_v2_x0_5": Published(61.1, 41, 1.4, SHUFFLE_2_CODE),
    "torchvision:shufflenet_v2_x1_0": Published(69.4, 146, 2.3, f"{SHUFFLE_2}, Table 8"),
    "torchvision:shufflenet_v2_x1_5": Published(72.6, 299, 3.5, f"{SHUFFLE_2}, Table 8"),
    "torchvision:shufflenet_v2_x2_0": Published(75.0, 591, 7.4, SHUFFLE_2_CODE),
    "torchvision:squeezenet1_0": Published(57.5, 1700, 1.25, f"{V1}, Table 9", slip=SLIPS["squeezenet"]),
    "alexnet": Published(57.2, 720, 60, f"{V1}, Table 9", resolution=227),
    "torchvision:googlenet": Published(69.8, 1550, 6.8, f"{V1}, Table 8",
                                       slip="torchvision's \"5x5\" branch is a 3x3 convolution, so its net is smaller"),
    "torchvision:vgg16": Published(71.5, 15300, 138, f"{V1}, Table 8", slip="15300 M are the convolutions alone"),
    "nasnet_a": Published(74.0, 564, 5.3, f"{V2}, Table 4"),
    **{f"resnet_{depth}": Published(top1, None, None, f"{SKIPNET}, Table 2", "CIFAR-10", 32)
       for depth, top1 in ((38, 92.50), (74, 92.95), (110, 93.60))},
    **{f"skipnet_{depth}-rnn": Published(top1, None, None, SKIPNET_CODE, "CIFAR-10", 32, kept)
       for depth, top1, kept in ((38, 92.75, 70.272), (74, 92.77, 52.340), (110, 93.30, 49.526))},
}  # fmt: skip

# the nets of the figure "MobileNet versions on CPU and GPU"
MOBILENETS = tuple(name for name in PUBLISHED if name.removeprefix("timm:").startswith("mobilenet"))
TABLE_8 = ("mobilenet_v1-1.0-224", "torchvision:googlenet", "torchvision:vgg16")
TABLE_9 = ("mobilenet_v1-0.5-160", "torchvision:squeezenet1_0", "alexnet")
# MobileNetV1's Table 2: percent of the mult-adds and of the parameters by layer type
LAYER_TYPES: dict[str, tuple[float, float]] = {
    "conv1x1": (94.86, 74.59),
    "depthwise": (3.06, 1.06),
    "conv": (1.19, 0.02),
    "linear": (0.18, 24.33),
}
# percent of a block's mult-adds that SkipNet's section 3.1 says a gate takes
GATE_SHARES: dict[str, float] = {"ff1": 19.0, "ff2": 12.5, "rnn": 0.04}


def canonical(name: str) -> str:
    """The name with what it leaves open said: `mobilenet_v1-0.5` -> `mobilenet_v1-0.5-224`, `skipnet_38` -> `skipnet_38-rnn`.
    Other names come back as they are."""
    base, *rest = name.split("-")
    if not rest and base.startswith(("skipnet_", "shufflenet_v1")):
        return base + ("-rnn" if base.startswith("skipnet_") else "-g3")
    if ":" in name or not base.startswith("mobilenet_"):
        return name
    alpha, resolution = 1.0, 224
    for part in rest:
        if re.fullmatch(r"\d+\.\d*|[1-4]", part):
            alpha = float(part)
        elif re.fullmatch(r"\d+", part):
            resolution = int(part)
        else:
            return name  # a gate: no paper's net
    return f"{base}-{alpha}-{resolution}"


def published(name: str) -> Published | None:
    """What is printed of a net of that name (as measure.py takes it), or None."""
    return PUBLISHED.get(canonical(name))


def usual_resolution(name: str) -> int:
    """Pixels at which a module that does not say its own is counted and measured: those of its published accuracy, else 224."""
    found = published(name)
    return found.resolution if found else RESOLUTION
