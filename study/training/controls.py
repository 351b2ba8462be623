"""Controls of a trained gated net: what would the same computation give without looking at the image?

    control=static    its static twin: the blocks that it keeps for less than half of the images removed, trained from scratch
    control=random    the same net, every gate a coin with that gate's own keep rate, in training and when tested

Both are trained by the recipe and the epochs asked for, from scratch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchspace.architecture import Architecture
from searchspace.twins import static_twin
from study.settings import SettingsError

CONTROLS = ("static", "random")


@dataclass(frozen=True)
class Control:
    """Of which net (its folder), the architecture to train, and the keep rate of each gate."""

    kind: str
    of: str
    architecture: Architecture
    keep: tuple[float, ...]


def control_of(kind: str, name: str) -> Control:
    """`name`: the folder outputs/NAME/nets/ID of a trained gated net. SettingsError names what is missing."""
    if kind not in CONTROLS:
        raise SettingsError(f"control={kind}: must be static, random or null")
    folder = Path(name)
    if not (folder / "card.json").is_file():
        raise SettingsError(
            f"control={kind}: net={name} must be the folder of a trained gated net, as in net=outputs/NAME/nets/ID"
        )
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    keep = card.get("keep_by_gate")
    if not keep:
        raise SettingsError(f"control={kind}: {name} is no gated net that train.py trained (its card has no keep_by_gate)")
    net = Architecture.from_json((folder / "architecture.json").read_text())
    try:
        architecture = static_twin(net, keep) if kind == "static" else net
    except ValueError as error:
        raise SettingsError(f"control={kind}: {name}: {error}") from None
    return Control(kind, name, architecture, tuple(keep))
