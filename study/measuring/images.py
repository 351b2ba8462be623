"""On which images the gated nets of a measurement decide: validation images of the data that they were trained on, where their
cards name one set and it can be loaded without a download of size; else noise, and it is said why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.export import is_gated
from searchspace.architecture import Architecture
from study.trial import deployed_sample
from trainers.data import DataError, load

HERE = ("digits", "fashion_mnist")  # sets that are on the machine or come in seconds; others need the path of their card


@dataclass(frozen=True)
class Images:
    """`pixels`: (n, C, H, W) raw, None for noise; `mean`, `std`: a channel, on the scale 0..255; `what`: for people, "" where
    no net decides; `why`: it is noise."""

    pixels: Any = None
    mean: Any = None
    std: Any = None
    what: str = ""
    why: str = ""


def images_for(nets: Iterable[Any]) -> Images:
    """Validation images of the one data set that the cards of all gated nets name. A card keeps the path as the user gave it: a
    relative one means from where measure.py is run."""
    gated = [net for net in nets if (net.gates if isinstance(net, Architecture) else is_gated(net))]
    if not gated:
        return Images()
    cards = [(getattr(net, "card", None) or {}).get("data") or {} for net in gated]
    sets = {(card.get("name"), card.get("path")) for card in cards}
    names = sorted({str(name) for name, _ in sets if name})
    if not all(name for name, _ in sets):
        return _noise("not every one of them has a card that names its data")
    if len(sets) > 1:
        return _noise(f"their cards name several sets ({', '.join(names)}): measure the nets of each apart")
    ((name, path),) = sets
    if path is None and name not in HERE:
        return _noise(f"the card names {name} without a path, and nothing is downloaded to measure")
    if path is not None and not Path(path).exists():
        return _noise(f"the card names {name} at {path}, which is not there (seen from {Path.cwd()})")
    fractions = {card.get("fraction") or 1.0 for card in cards}
    try:
        data = load(str(name), path, fractions.pop() if len(fractions) == 1 else 1.0)
        pixels = deployed_sample(data)
    except (DataError, ValueError) as error:
        return _noise(f"{name} cannot be loaded ({' '.join(str(error).split())[:150]})")
    return Images(pixels, data.mean, data.std, f"{name} images")


def _noise(why: str) -> Images:
    return Images(what="noise", why=f"Gated nets decided on noise: {why}.")
