"""The table executed.csv of measure.py as a figure: for each gated net how many images execute how many of its gated blocks, and
beside it what they cost; lines at the middle of the images (p50) and where the slowest twentieth begins (p95)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.palette import STEPS, STYLE, Drawing, dress

# inches: a number of blocks; the least and most of a net's rows; below and above them; more below the last
ROW, LEAST, MOST, FOOT, HEAD, LAST = 0.26, 1.6, 5.0, 0.62, 0.62, 0.12
TICKS = 12  # numbers of blocks that are written beside the axis
PERCENTILES = {"p50_ms": ("p50", (0, (1, 1.5))), "p95_ms": ("p95", (0, (5, 2)))}


def executed_figure(by_blocks: pd.DataFrame, measured: pd.DataFrame, palette: Mapping[str, str]) -> Drawing:
    """`by_blocks`: rows of executed.csv of one measurement; `measured`: those of measure.csv, for p50_ms and p95_ms."""
    nets = list(dict.fromkeys(by_blocks["net"]))
    rows_in = [min(MOST, max(LEAST, ROW * (1 + _numbers(by_blocks, net)))) for net in nets]
    high = sum(rows_in) + len(nets) * (FOOT + HEAD) + LAST
    said, top = [], high
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, high), facecolor="none")
        for net, rows_high in zip(nets, rows_in, strict=True):
            bottom = top - HEAD - rows_high
            left, right = (
                figure.add_axes((x / 7.6, bottom / high, w / 7.6, rows_high / high)) for x, w in ((0.72, 3.0), (4.1, 3.3))
            )
            top = bottom - FOOT
            rows = by_blocks[by_blocks["net"] == net]
            (row,) = measured[measured["net"] == net].to_dict("records")
            for axes in (left, right):
                dress(axes, palette)
                _numbers_up(axes, int(rows["executed"].min()), int(rows["executed"].max()))
                axes.grid(False, axis="y")
            _images(left, rows, palette)
            _cost(right, rows, row, palette)
            shown = net if len(net) <= 40 else f"…{net[-39:]}"
            title = f"{shown}: {rows['images'].sum()} images of {rows['images_of'].iloc[0]}"
            left.annotate(
                title, (0, 1), (0, 22), "axes fraction", textcoords="offset points", color=palette["ink"], weight="bold"
            )
            most = rows.loc[rows["images"].idxmax()]
            said.append(f"{net}: mean {row['latency_ms']:.3g} ms, p50 {row['p50_ms']:.3g}, p95 {row['p95_ms']:.3g}; most images "
                        f"execute {most['executed']} of {most['gates']} gated blocks")  # fmt: skip
        first = measured.iloc[0]
        threads = "1 thread" if first["threads"] == 1 else f"{first['threads']} threads"
        right.set_xlabel(f"ms an image\n{first['runtime']}, {threads}, batch {first['batch']}, {first['precision']}")
    return Drawing(figure, "Images by executed blocks and what they cost. " + "; ".join(said))


def _numbers(by_blocks: pd.DataFrame, net: str) -> int:
    """From the fewest to the most blocks executed."""
    executed = by_blocks.loc[by_blocks["net"] == net, "executed"]
    return int(executed.max() - executed.min()) + 1


def _numbers_up(axes: matplotlib.axes.Axes, fewest: int, most: int) -> None:
    """The axis of executed blocks: ticks on whole numbers that occur or lie between, a single bar no thicker than of several."""
    room = max(most - fewest + 1.4, LEAST / ROW - 1)
    axes.set_ylim((fewest + most - room) / 2, (fewest + most + room) / 2)
    axes.set_yticks(range(fewest, most + 1, -(-(most - fewest + 1) // TICKS)))


def _images(axes: matplotlib.axes.Axes, rows: pd.DataFrame, palette: Mapping[str, str]) -> None:
    axes.barh(rows["executed"], rows["share"], height=0.72, color=palette["found"])
    few = len(rows) <= 20  # with more of them numbers would lie on each other
    for r in rows.to_dict("records") if few else []:
        said = f"{r['share']:.0%}" if r["share"] >= 0.005 else "<1%"
        axes.annotate(said, (r["share"], r["executed"]), (3, 0), textcoords="offset points", va="center",
                      color=palette["muted"], fontsize=8.5)  # fmt: skip
    axes.set_xlim(0, rows["share"].max() * (1.18 if few else 1.05))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
    axes.set_xlabel("share of images")
    axes.set_ylabel(f"executed blocks of {rows['gates'].iloc[0]}")


def _cost(axes: matplotlib.axes.Axes, rows: pd.DataFrame, row: Mapping[str, float], palette: Mapping[str, str]) -> None:
    axes.plot(rows["mean_ms"], rows["executed"], "o", color=palette["found"], markersize=6)
    for key, (name, dashes) in PERCENTILES.items():
        axes.axvline(row[key], color=palette["anchor"], linewidth=1.2, linestyle=dashes)
        left = name == "p50" and row["p95_ms"] > row["p50_ms"]  # the names stand apart even where the lines do not
        axes.annotate(f"{name} {row[key]:.3g}", (row[key], 1), (-2 if left else 2, 4), ("data", "axes fraction"),
                      textcoords="offset points", ha="right" if left else "left", color=palette["anchor"],
                      fontsize=8.5)  # fmt: skip
    axes.set_xlim(0, max(rows["mean_ms"].max(), row["p95_ms"]) * 1.18)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlabel("ms an image")
