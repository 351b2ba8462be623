"""What a gated net decides as a figure: executed blocks against loss, keep rate per block and per class, the easiest and the
hardest images. Where the amount of work does not depend on the image, a sentence stands in place of what would mean nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.decisions import QUARTERS, ClassRow, Decisions, half
from analysis.decisions_file import read_decisions
from analysis.files import write_bytes
from analysis.lines import folded
from analysis.palette import LIGHT, STEPS, STYLE, Drawing, dress, png
from analysis.records import StudyError

SHOWN_CLASSES = 20  # of more, the half that run the fewest blocks and the half that run the most
PANEL, GAP, LINE, CLASS = 2.1, 0.95, 0.17, 0.17  # inches: a panel, the words around one, a line of text, a class
TILE = 0.72  # inches, at most


def write_decisions(folder: Path | None) -> str:
    """Writes decisions.png of a training's one gated net, or decisions-ID.png of each; returns the paths, a line each.
    StudyError where there is none."""
    if folder is None:
        raise StudyError("is of one training; name it: python report.py name=TRAINING figure=decisions")
    nets = read_decisions(folder)
    paths = [folder / (f"decisions-{net.id}.png" if len(nets) > 1 else "decisions.png") for net in nets]
    for net, path in zip(nets, paths):
        write_bytes(path, png(decisions_figure(net, LIGHT)))
    return "\n".join(map(str, paths))


def decisions_figure(net: Decisions, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """From above: what was found in words; executed blocks against loss beside (narrow: above) keep rate per block; keep rate
    and accuracy of the classes; the images."""
    width = 7.6 if wide else 4.0
    title = f"{net.name}: top-1 {net.top1:.2f} % on {net.n:,} images"
    titles = folded(title, width - 0.2, 10.5, "bold")
    words = [line for said in net.findings() for line in folded(said, width - 0.2, 9)]
    head = 0.24 + LINE * (len(titles) + len(words)) + 0.07
    table = _shown(net) if net.depends else []
    tile = min(TILE, (width - 1.0) / max(1, _tiles(net, wide))) if net.depends and _tiles(net, wide) else 0.0
    panels = 1 if wide or not net.depends else 2
    high = (
        0.28
        + head
        + panels * (PANEL + GAP)
        + (CLASS * len(table) + GAP if table else 0)
        + (2 * (tile + 0.42) + (0.25 if wide else 0.4) if tile else 0)
    )
    high -= 0.3 if tile else 0.38  # what the last panel does not need
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, high), facecolor="none")
        for i, line in enumerate([*titles, *words]):
            look = {"fontsize": 10.5, "fontweight": "bold"} if i < len(titles) else {"fontsize": 9}
            below = 0.24 + LINE * i + (0.03 if i >= len(titles) else 0)
            figure.text(0.1 / width, 1 - below / high, line, color=palette["ink"], **look)

        def panel(left: float, top: float, across: float, tall: float) -> Axes:
            """All in inches, from the upper left."""
            axes = figure.add_axes((left / width, 1 - (top + tall) / high, across / width, tall / high))
            dress(axes, palette)
            return axes

        left, top = 0.62, head + 0.28
        across = (width - 2 * left - 0.2) / 2 if wide else width - left - 0.15
        if net.depends:
            _by_loss(panel(left, top, across, PANEL), net, palette)
            top, left = (top, 2 * left + across + 0.05) if wide else (top + PANEL + GAP, left)
        else:
            across = width - left - 0.15
        _by_block(panel(left, top, across, PANEL), net, palette, across)
        top += PANEL + GAP
        if table:
            names = 0.25 + 0.066 * min(18, max(len(row.name) for row in table))
            room = (width - names - 0.2 - 0.25) / 2
            tall = CLASS * len(table)
            two = (panel(names, top, room, tall), panel(names + room + 0.25, top, room, tall))
            _by_class(two, table, len(net.by_class()), palette, wide)
            top += tall + GAP - 0.25
        if tile:
            _strips(figure, net, palette, top, tile, _tiles(net, wide), (width, high))
    return Drawing(figure, f"{title}. {' '.join(net.findings())}")


def _titled(axes: Axes, text: str, palette: Mapping[str, str]) -> None:
    axes.set_title(text, color=palette["ink"], fontsize=9.5, loc="left", pad=6)


def _by_loss(axes: Axes, net: Decisions, palette: Mapping[str, str]) -> None:
    parts = net.by_loss()
    axes.boxplot(
        parts, positions=range(len(parts)), widths=0.5, whis=(5, 95), showfliers=False, manage_ticks=False, patch_artist=True,
        boxprops={"facecolor": "none", "edgecolor": palette["muted"], "linewidth": 0.9},
        medianprops={"color": palette["muted"], "linewidth": 0.9}, whiskerprops={"color": palette["muted"], "linewidth": 0.9},
        capprops={"color": palette["muted"], "linewidth": 0.9},
    )  # fmt: skip
    means, halves = [float(p.mean()) for p in parts], [half(p) for p in parts]
    axes.plot(range(len(parts)), means, color=palette["found"], linewidth=1.2, alpha=0.6, zorder=3)
    for x, (mean, width) in enumerate(zip(means, halves)):
        axes.plot([x, x], [mean - width, mean + width], color=palette["found"], linewidth=1.8, zorder=4)
        axes.plot(x, mean, "o", color=palette["found"], markersize=5.5, zorder=5)
    axes.set_xticks(range(len(parts)), QUARTERS)
    axes.set_xlim(-0.5, len(parts) - 0.5)
    axes.set_xlabel("quarter of the images by loss\nbox: 25–75 %, whiskers: 5–95 %", fontsize=9)
    axes.set_ylabel(f"executed of {net.gates} gated blocks", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=STEPS))
    axes.grid(False, axis="x")
    _titled(axes, "Executed blocks by loss: mean, 95 % interval", palette)


def _by_block(axes: Axes, net: Decisions, palette: Mapping[str, str], across: float) -> None:
    rates = net.kept.mean(axis=0)
    numbers = [b + 1 for b in net.blocks]
    axes.bar(numbers, rates, width=0.72, color=palette["found"], alpha=0.85, linewidth=0)
    ungated = [b + 1 for b in range(net.n_blocks) if b not in net.blocks]
    axes.bar(ungated, [1.0] * len(ungated), width=0.72, facecolor="none", edgecolor=palette["muted"], linewidth=0.9)
    starts = [0, *net.borders, net.n_blocks]
    for border in net.borders:
        axes.axvline(border + 0.5, color=palette["muted"], linewidth=0.9, linestyle=(0, (3, 3)))
    if net.borders and len(net.borders) <= 5:
        for i, (a, b) in enumerate(pairwise(starts), 1):
            axes.text((a + b + 1) / 2, 1.03, f"stage {i}", ha="center", va="bottom", fontsize=8.5, color=palette["muted"])
    axes.set_xlim(0.4, net.n_blocks + 0.6)
    axes.set_ylim(0, 1.14)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100"])
    axes.xaxis.set_major_locator(MaxNLocator(max(3, int(across / 0.4)), integer=True, steps=STEPS))
    axes.grid(False, axis="x")
    axes.set_xlabel("block" + (" (hollow: has no gate, always runs)" if ungated else ""), fontsize=9)
    axes.set_ylabel("images that run it, %", fontsize=9)
    _titled(axes, "Keep rate per block", palette)


def _shown(net: Decisions) -> list[ClassRow]:
    table = net.by_class()
    return table if len(table) <= SHOWN_CLASSES else [*table[: SHOWN_CLASSES // 2], *table[-SHOWN_CLASSES // 2 :]]


def _by_class(two: tuple[Axes, Axes], table: list[ClassRow], every: int, palette: Mapping[str, str], wide: bool) -> None:
    """Keep rate and accuracy of the classes of `table`, of `every` there are."""
    titles = ("Keep rate per class", "and its accuracy")
    if len(table) < every:
        ends = (
            f"The {len(table) // 2} classes of {every} that run the fewest blocks, and the most"
            if wide
            else f"Ends of {every} classes"
        )
        titles = (ends, "")
    units = ("keep rate of the gated blocks, %", "top-1 of the class, %") if wide else ("keep rate, %", "top-1, %")
    numbers = [[(r.kept, r.kept_half) for r in table], [(r.right, r.right_half) for r in table]]
    for axes, values, role, shape, title, unit in zip(two, numbers, ("found", "anchor"), "oD", titles, units):
        for y, (value, wide_half) in enumerate(values):
            low, high = max(0.0, 100 * (value - wide_half)), min(100.0, 100 * (value + wide_half))
            if not math.isnan(wide_half):
                axes.plot([low, high], [y, y], color=palette[role], linewidth=1.3)
            axes.plot(100 * value, y, shape, color=palette[role], markersize=5)
        if len(table) < every:
            axes.axhline(len(table) / 2 - 0.5, color=palette["muted"], linewidth=0.9, linestyle=(0, (3, 3)))
        axes.set_yticks(
            range(len(table)), [_short(r.name) if axes is two[0] else "" for r in table], color=palette["ink"], fontsize=8.5
        )
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit + (", 95 % interval" if wide else ""), fontsize=9)
        _titled(axes, title, palette)


def _short(text: str, longest: int = 18) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _tiles(net: Decisions, wide: bool) -> int:
    """Images a strip."""
    return min(8 if wide else 4, max(len(net.easiest), len(net.hardest)))


def _strips(
    figure: Figure, net: Decisions, palette: Mapping[str, str], top: float, tile: float, many: int, size: tuple[float, float]
) -> None:
    """Two strips from `top` inches on; under each image its label (and what the net takes it for) and its executed blocks."""
    width, high = size
    for number, (what, images, rows) in enumerate(
        (("fewest", net.easiest, net.easiest_row), ("most", net.hardest, net.hardest_row))
    ):
        y = top + number * (tile + 0.42)
        figure.text(0.1 / width, 1 - (y + tile / 2) / high, f"{what}\nblocks", color=palette["ink"], fontsize=9, va="center")
        step = (width - 0.75) / many
        for i, (image, row) in enumerate(zip(images[:many], rows[:many])):
            axes = figure.add_axes(
                ((0.7 + step * (i + 0.5) - tile / 2) / width, 1 - (y + tile) / high, tile / width, tile / high)
            )
            axes.imshow(np.squeeze(image, axis=2) if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color=palette["grid"])
            true, said = net.label[row], net.predicted[row]
            longest = max(4, int(step / 0.068))
            told = _short(net.classes[true], longest)
            wrong = f"✗ {_short(net.classes[said], longest - 2)}, " if said != true and said < len(net.classes) else ""
            axes.set_xlabel(
                f"{told}\n{wrong}{net.executed[row]}", fontsize=7.5, color=palette["anchor" if wrong else "ink"], labelpad=2
            )
    note = "Under an image: its class, ✗ what the net takes it for, executed blocks. Ties by loss."
    for i, line in enumerate(reversed(folded(note, width - 0.2, 8))):
        figure.text(0.1 / width, (0.09 + 0.15 * i) / high, line, color=palette["muted"], fontsize=8)
