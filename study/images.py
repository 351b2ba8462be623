"""On which images the gated nets of a measurement decide: those of the data that they were trained on, where their cards name
one set and it can be loaded; else noise, and it is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hardware.export import is_gated
from searchspace.architecture import Architecture
from study.trial import IMAGES
from trainers.data import DataError, load

HERE = ("digits", "fashion_mnist")  # sets that are on the machine or come in seconds; measuring downloads no larger one


@dataclass(frozen=True)
class Images:
    """`pixels`: (n, C, H, W) raw, None for noise; `mean`, `std`: a channel, on the scale 0..255; `what`: for people, "" where
    no net decides."""

    pixels: Any = None
    mean: Any = None
    std: Any = None
    what: str = ""


def images_for(nets: Iterable[Any]) -> Images:
    """Validation images of the one data set that the cards of all gated nets name."""
    gated = [net for net in nets if (net.gates if isinstance(net, Architecture) else is_gated(net))]
    if not gated:
        return Images()
    names = {((getattr(net, "card", None) or {}).get("data") or {}).get("name") for net in gated}
    if len(names) != 1 or None in names:
        return Images(what="noise")
    name = str(names.pop())
    if name not in HERE:
        return Images(what="noise")
    try:
        data = load(name)
    except (DataError, ValueError):  # a set that needs a path, or is not on this machine
        return Images(what="noise")
    return Images(data.sample(IMAGES), data.mean, data.std, f"{name} images")
