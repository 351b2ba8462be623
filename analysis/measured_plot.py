"""The table of measure.py as a figure: a line a net, fastest first, its 95 % interval, its mult-adds a second beside it (of a
gated net, which does not do all of them, the 95th percentile over images)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.palette import STEPS, STYLE, Drawing, dress


def latest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last measurement of a measure.csv."""
    return table[table["measured_at"] == table["measured_at"].iloc[-1]]


def measured_figure(table: pd.DataFrame, palette: Mapping[str, str]) -> Drawing:
    """Latency of each row of measure.csv, in milliseconds."""
    table = table.sort_values("latency_ms", ascending=False).reset_index(drop=True)
    high = 1.0 + 0.3 * len(table)
    first = table.iloc[0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, high), facecolor="none")
        axes = figure.subplots()
        longest = min(40, max(len(n) for n in table["net"]))
        figure.subplots_adjust(left=(0.3 + 0.078 * longest) / 7.6, right=1 - 1.75 / 7.6, bottom=0.72 / high, top=1 - 0.12 / high)
        dress(axes, palette)
        for y, row in table.iterrows():
            axes.plot([row["low_ms"], row["high_ms"]], [y, y], color=palette["found"], linewidth=1.6)
            axes.plot(row["latency_ms"], y, "o", color=palette["found"], markersize=6)
            beside = f"{row['latency_ms']:.3g} ms" + _beside(row)
            axes.annotate(
                beside, (1.01, y), xycoords=("axes fraction", "data"), color=palette["muted"], fontsize=8.5, va="center"
            )
        names = [n if len(n) <= 40 else f"…{n[-39:]}" for n in table["net"]]
        axes.set_yticks(range(len(table)), names, color=palette["ink"])
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.grid(False, axis="y")
        spread = table["latency_ms"].max() / table["latency_ms"].min()
        if spread > 3:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.06)
        else:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        threads = "1 thread" if first["threads"] == 1 else f"{first['threads']} threads"
        scale = " (log scale)" if spread > 3 else ""
        axes.set_xlabel(f"latency, ms{scale}\n{first['runtime']}, {threads}, batch {first['batch']}, {first['precision']}")
    said = "; ".join(f"{r['net']} {r['latency_ms']:.3g}" for _, r in table[::-1].iterrows())
    return Drawing(figure, f"Latency in milliseconds with 95 % intervals: {said}")


def _beside(row: Mapping[str, Any]) -> str:
    if pd.notna(row["gmac_per_s"]):
        return f", {row['gmac_per_s']:.3g} GMAC/s"
    return f", p95 {row['p95_ms']:.3g}" if pd.notna(row.get("p95_ms")) else ""
