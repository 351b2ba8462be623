"""`report.py figure=classics`: the lecture's three figures, each from what was measured here, each saying what was not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.activations_plot import activations_figure
from analysis.blocks_plot import blocks_figure
from analysis.clocks import read_clocks
from analysis.files import write_bytes
from analysis.mobilenets_plot import mobilenets_figure
from analysis.palette import LIGHT, Drawing, png
from analysis.pieces import read_pieces


def drawings(
    facts: Mapping[str, pd.DataFrame], outputs: Path, palette: Mapping[str, str], wide: bool = True
) -> dict[str, Drawing]:
    """The figures by name. facts: "mobilenets" and "blocks", as of study.measuring.lecture.figures(). StudyError for a file below
    `outputs` that cannot be read."""
    pieces = read_pieces(outputs)
    return {
        "mobilenets": mobilenets_figure(read_clocks(outputs), facts["mobilenets"], palette, wide),
        "blocks": blocks_figure(pieces, facts["blocks"], palette, wide),
        "activations": activations_figure(pieces, palette, wide),
    }


def write_classics(facts: Mapping[str, pd.DataFrame], outputs: Path) -> str:
    """PNGs under outputs/classics, wide, on white; their paths, one a line."""
    made, folder = drawings(facts, outputs, LIGHT), outputs / "classics"
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in made.items():
        write_bytes(folder / f"{name}.png", png(drawing))
    return "\n".join(str(folder / f"{name}.png") for name in made)
