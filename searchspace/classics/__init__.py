"""The lecture's nets that neither timm nor torchvision has and that no Architecture value describes: plain torch modules.

    net = make("shufflenet_v1-g3-0.5", classes=10)    # net.resolution: the pixels that it is made for

A name is alexnet[-ungrouped][-RESOLUTION], shufflenet_v1[-gGROUPS][-SCALE][-RESOLUTION] or nasnet_a[-RESOLUTION].
searchspace.resolve knows them. Importing this imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from searchspace.anchors import UnknownNet
from searchspace.architecture import ArchitectureError


@dataclass(frozen=True)
class Classic:
    """Where a net's class is (`module:class`), the pixels of its paper, the fewest that its layers leave anything of, what
    the words of a name mean; `scales`: whether the name may hold a width; `most`: pixels, where weights grow with them."""

    where: str
    resolution: int
    least: int
    words: dict[str, tuple[str, Any]]
    scales: bool = False
    most: int | None = None


MAKERS = {
    "alexnet": Classic("alexnet:AlexNet", 227, 67, {"ungrouped": ("groups", 1)}, most=1024),
    "shufflenet_v1": Classic(
        "shufflenet_v1:ShuffleNetV1", 224, 1, {f"g{g}": ("groups", g) for g in (1, 2, 3, 4, 8)}, scales=True
    ),
    "nasnet_a": Classic("nasnet:NASNetA", 224, 3, {}),
}


def is_classic(name: str) -> bool:
    """Whether a name is meant for this room; `said` tells whether it is right."""
    return name.split("-")[0] in MAKERS


def said(name: str) -> dict[str, Any]:
    """The arguments that a name holds, `resolution` only where it says one. UnknownNet names the part that means nothing,
    ArchitectureError a scale that cannot be."""
    base, *rest = name.split("-")
    classic = MAKERS[base]
    found: dict[str, Any] = {}
    for part in rest:
        if part in classic.words:
            key, value = classic.words[part]
        elif classic.scales and re.fullmatch(r"\d+\.\d*|[1-4]", part):
            key, value = "scale", float(part)
        elif re.fullmatch(r"\d+", part):
            key, value = "resolution", int(part)
        else:
            known = [*classic.words, *(["a scale (0.5)"] if classic.scales else []), "a resolution (160)"]
            raise UnknownNet(f"{name!r}: {part!r} is none of {', '.join(known)}")
        if key in found:
            raise UnknownNet(f"{name!r} says its {key} twice")
        if key == "scale" and not 0 < value <= 4:
            raise ArchitectureError("scale", f"{value:g} in {name!r} is not in (0, 4]")
        found[key] = value
    return found


def make(name: str, resolution: int | None = None, classes: int | None = None, in_channels: int = 3) -> Any:
    """The named torch module with fresh weights, x: (N, in_channels, H, W) -> (N, classes); `net.resolution` is the name's, else
    the argument's, else the paper's. Raises UnknownNet, and ArchitectureError for pixels that it cannot take."""
    base, arguments = name.split("-")[0], said(name)
    classic = MAKERS[base]
    size = arguments.pop("resolution", resolution or classic.resolution)
    if size < classic.least:
        least = f"{base}-{classic.least}, or data.resolution={classic.least}"
        raise ArchitectureError("resolution", f"{base} needs at least {classic.least} pixels, not {size}: {least}")
    if classic.most and size > classic.most:
        raise ArchitectureError(
            "resolution", f"{base} takes at most {classic.most} pixels, not {size}: its weights grow with them"
        )
    module, _, kind = classic.where.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), kind)(
        classes=classes or 1000, in_channels=in_channels, resolution=size, **arguments
    )
