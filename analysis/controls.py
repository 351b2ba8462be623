"""A search beside its control, both fronts in measured milliseconds: what did the sampler buy, what did measuring buy?

    control=random    the same budget drawn at random
    control=macs      the same sampler, budget and first nets, but accuracy against mult-adds; its nets are measured all the same

Both sides are judged by the search's own trials: validation top-1 after the short recipe, one seed, the latency of each trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.document import Heading, Item, Paragraph, Picture, signed, three
from analysis.front import within
from analysis.palette import STEPS, STYLE, Drawing, canvas
from analysis.pareto import front_mask, hypervolume
from analysis.plots import reference
from analysis.records import Record

KINDS = {"random": "random search", "macs": "the search by mult-adds"}
BUDGETS = (0.25, 0.5, 0.75)  # quantiles of the latencies of all nets that were searched


@dataclass(frozen=True)
class Beside:
    """Trials of both sides and of the anchors; hypervolumes, % x ms."""

    kind: str
    search: pd.DataFrame
    control: pd.DataFrame
    anchors: pd.DataFrame
    volumes: tuple[float, float, float]
    budget: bool = False


def beside(record: Record) -> Beside | None:
    """None without a control that has trained a net."""
    done = record.trials[(record.trials["state"] == "COMPLETE") & record.trials["latency_ms"].notna()]
    done = within(done, record.settings.get("max_latency_ms"))
    search, control, anchors = (done[done["origin"] == o] for o in ("search", "control", "anchor"))
    kind = str(record.settings.get("control") or "random")
    if control.empty or search.empty:
        return None
    point, _ = reference(record)
    # a control by mult-adds knows the anchors as the search does: both sides count with them
    sides = [pd.concat([anchors, search]), pd.concat([anchors, control]), anchors]
    volumes = tuple(hypervolume(side["top1_val"], side["latency_ms"], point) for side in sides)
    budget = record.settings.get("max_latency_ms") is not None
    return Beside(kind, search, control, anchors, volumes, budget)  # type: ignore[arg-type]


def beside_control(record: Record) -> list[Item]:
    """The section of the report; nothing without a control."""
    found = beside(record)
    if found is None:
        return []
    what = KINDS.get(found.kind, found.kind)
    return [
        Heading(f"Beside {what}"),
        Picture(
            "control",
            lambda palette, wide=True: control_figure(found, palette, wide),
            "Fronts of both sides' own trials, anchors left out: **validation** top-1 after the short recipe against measured "
            "latency.",
        ),
        Paragraph(_told(found, what, record.starts)),
    ]


def _told(found: Beside, what: str, starts: int) -> str:
    ours, theirs, alone = found.volumes
    sampler = "the sampler, with its start near the anchors," if starts else "the sampler"
    bought = "measuring" if found.kind == "macs" else sampler
    text = (
        f"With {len(found.search)} nets the search dominates {ours:.4g} % × ms, {what} with {len(found.control)} nets "
        f"{theirs:.4g}, the anchors alone {alone:.4g}: "
    )
    if theirs <= 0:
        text += "too little to compare. "
    elif ours > theirs:
        text += f"{bought} bought {signed(100 * (ours / theirs - 1), 2)} % of hypervolume. "
    else:
        text += f"here {bought} bought nothing ({signed(100 * (ours / theirs - 1), 2)} %). "
    text += _at_budgets(found, what)
    if found.kind == "macs" and found.budget:
        text += " The latency budget holds in milliseconds on both sides."
    if found.kind == "macs" and (tau := _tau(found)) is not None:
        text += f" Mult-adds order all these nets by latency with Kendall's tau {tau:.2f}."
    return text + " One search of each kind: how far two searches of one kind lie apart by chance is not in these numbers."


def _at_budgets(found: Beside, what: str) -> str:
    ms = pd.concat([found.search["latency_ms"], found.control["latency_ms"]])
    parts = []
    for budget in np.quantile(ms, BUDGETS):
        best = [within(side, float(budget))["top1_val"].max() for side in (found.search, found.control)]
        if not any(map(pd.isna, best)):
            parts.append(f"{best[0]:.2f} against {best[1]:.2f} % within {three(float(budget))} ms")
    return f"Best top-1, the search's against that of {what}: {'; '.join(parts)}." if parts else ""


def _tau(found: Beside) -> float | None:
    from scipy.stats import kendalltau

    both = pd.concat([found.search, found.control]).dropna(subset=["macs_m", "latency_ms"])
    return float(kendalltau(both["macs_m"], both["latency_ms"]).statistic) if len(both) > 2 else None


def control_figure(found: Beside, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Both fronts as staircases, each side's nets behind them."""
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas(palette, (7.6, 3.4) if wide else (4.0, 3.6), top=0.9, bottom=0.5)
        right = 1.1 * max(side["latency_ms"].max() for side in (found.search, found.control))
        for side, role, shape, line, label in (
            (found.search, "found", "o", "-", "the search"),
            (found.control, "control", "s", "--", KINDS.get(found.kind, found.kind)),
        ):
            axes.plot(side["latency_ms"], side["top1_val"], shape, color=palette[role], markersize=4.5, alpha=0.55,
                      markerfacecolor=palette["paper"])  # fmt: skip
            front = side[front_mask(side["top1_val"], side["latency_ms"])].sort_values("latency_ms")
            x, y = front["latency_ms"].to_numpy(), front["top1_val"].to_numpy()
            stairs = np.append(np.repeat(x, 2)[1:], right), np.repeat(y, 2)
            axes.plot(*stairs, line, color=palette[role], linewidth=1.7, label=label)
        anchors = found.anchors
        if len(anchors):
            axes.plot(anchors["latency_ms"], anchors["top1_val"], "D", color=palette["anchor"], markersize=6, label="anchors")
        both = pd.concat([found.search, found.control, anchors])
        low = float(both["top1_val"].quantile(0.2))
        high = float(both["top1_val"].max())
        axes.set_ylim(low - 0.1 * (high - low), high + 0.08 * (high - low) + 0.1)
        axes.set_xlim(0, right)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("validation top-1, %")
        axes.xaxis.set_major_locator(MaxNLocator(7 if wide else 5, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        figure.legend(loc="upper left", ncols=3, labelcolor=palette["ink"], fontsize=9, handletextpad=0.4, columnspacing=1.2,
                      borderaxespad=0.3)  # fmt: skip
    said = f"the search ends at {found.volumes[0]:.4g}, its control at {found.volumes[1]:.4g} % × ms"
    return Drawing(figure, f"Fronts of the search and of {KINDS.get(found.kind, found.kind)}: {said}")
