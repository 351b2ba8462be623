"""`report.py table=trainings`: every training of train.py below outputs/, a row a net, stage and recipe, means over seeds; and
`figure=trainings`: validation top-1 by epoch."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.files import write_bytes
from analysis.palette import LIGHT, STYLE, Drawing, dress, png
from analysis.records import StudyError
from analysis.skipnet_cards import CONTROLS, STAGES, Trained, read_trainings

HEAD = ("data", "net", "stage", "epochs", "share of the data", "seeds", "test top-1 %", "keep rate", "M mult-adds", "latency ms",
        "command")  # fmt: skip
COMMAND = "command.txt"


@dataclass(frozen=True)
class Line:
    """Trainings that differ by seed alone."""

    runs: tuple[Trained, ...]

    def mean(self, field: str) -> float:
        """NaN where no run has it."""
        values = [v for t in self.runs if not math.isnan(v := getattr(t, field))]
        return statistics.fmean(values) if values else math.nan


def lines(runs: Sequence[Trained]) -> list[Line]:
    """By data, then net and stage as they stand in the folders."""
    grouped: dict[tuple[object, ...], list[Trained]] = {}
    for t in runs:
        skip_alpha = "" if math.isnan(t.skip_alpha) or t.stage in ("sp", "none") else t.skip_alpha
        key = (t.data, t.resolution, t.net, t.stage, skip_alpha, t.fraction, t.epochs, t.recipe)
        grouped.setdefault(key, []).append(t)
    return [Line(tuple(sorted(g, key=lambda t: t.seed))) for _, g in sorted(grouped.items(), key=lambda kv: str(kv[0]))]


def trainings_text(outputs: Path) -> str:
    """A table in Markdown. StudyError when there is no training."""
    found = lines(_read(outputs))
    rows = [HEAD, tuple("---" if i < 4 or i == len(HEAD) - 1 else "--:" for i in range(len(HEAD)))]
    for line in found:
        one = line.runs[0]
        sd = f" ± {statistics.stdev([t.top1 for t in line.runs]):.2f}" if len(line.runs) > 1 else ""
        keep, ms = line.mean("keep_rate"), line.mean("latency_ms")
        clock = [t for t in line.runs if not math.isnan(t.latency_ms)]
        interval = f" [{min(t.low_ms for t in clock):.3f}, {max(t.high_ms for t in clock):.3f}]" if clock else ""
        alpha = (
            f", skip_alpha {one.skip_alpha:g}" if one.stage in ("hrl", "supervised") and not math.isnan(one.skip_alpha) else ""
        )
        rows.append((
            one.data, one.net, STAGES[one.stage] + alpha, str(one.epochs), f"{one.fraction:.0%}", str(len(line.runs)),
            f"{line.mean('top1'):.2f}{sd}", "" if math.isnan(keep) else f"{keep:.1%}", f"{line.mean('macs_m'):.2f}",
            "" if math.isnan(ms) else f"{ms:.3f}{interval}", f"`{_command(outputs, one)}`",
        ))  # fmt: skip
    table = "\n".join("| " + " | ".join(r) + " |" for r in rows)
    return table + (
        "\n\nTest top-1: mean ± standard deviation over seeds. epochs of SP+HRL come on top of SP's. Mult-adds of a gated net: "
        "mean of an image on the test images, gates included. Latency: mean over seeds [lowest and highest end of the intervals]."
    )


def write_trainings(outputs: Path) -> str:
    """Writes trainings.png into `outputs` and returns its path. StudyError when there is no training."""
    path = outputs / "trainings.png"
    write_bytes(path, png(trainings_figure(outputs, LIGHT)))
    return str(path)


def trainings_figure(outputs: Path, palette: Mapping[str, str]) -> Drawing:
    """Validation top-1 in percent by epoch, one panel a data set, one line a training; HRL's epochs follow SP's of its folder."""
    curves: dict[str, list[tuple[str, list[float]]]] = {}
    for line in lines(_read(outputs)):
        for t in line.runs:
            values = _curve(outputs / t.folder.split("/")[0] / "curve.csv", t.stage)
            if values:
                alpha = f", α {t.skip_alpha:g}" if t.stage == "hrl" else ""
                stage = "" if t.stage in CONTROLS else f" {STAGES[t.stage]}"  # a control's name says it
                label = f"{t.net}{stage}{alpha}" + (f", seed {t.seed}" if len(line.runs) > 1 else "")
                curves.setdefault(t.data, []).append((label, values))
    if not curves:
        raise StudyError("no training below outputs/ has a curve.csv; python train.py net=mobilenet_v1-0.25 makes one")
    most = max(len(c) for c in curves.values())
    high = max(3.2, 0.8 + 0.2 * most)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, high * len(curves)), facecolor="none")
        panels = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
        figure.subplots_adjust(
            left=0.08, right=0.56, top=1 - 0.3 / (high * len(curves)), bottom=0.5 / (high * len(curves)), hspace=0.35
        )
        colours = [palette[k] for k in ("found", "anchor", "control", "ink", "muted")]
        shapes = ("-", "--", ":", "-.")
        for axes, (data, each) in zip(panels, curves.items()):
            dress(axes, palette)
            for i, (label, values) in enumerate(each):
                shape, colour = shapes[i // len(colours) % len(shapes)], colours[i % len(colours)]
                axes.plot(range(1, len(values) + 1), values, shape, color=colour, linewidth=1.6, label=label)
            axes.set_title(data, loc="left", fontsize=10, color=palette["ink"])
            axes.set_xlabel("epoch")
            axes.set_ylabel("validation top-1, %")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8.5, labelcolor=palette["ink"])
    said = "; ".join(f"{label} on {data} ends at {v[-1]:.2f}" for data, each in curves.items() for label, v in each)
    return Drawing(figure, f"Validation top-1 in percent by epoch: {said}")


def _read(outputs: Path) -> list[Trained]:
    if not (found := read_trainings(outputs)):
        raise StudyError(f"there is no training below {outputs}; python train.py net=mobilenet_v1-0.25 makes one")
    return found


def _curve(path: Path, stage: str) -> list[float]:
    if not path.is_file():
        return []
    with open(path) as file:
        return [float(r["top1_val"]) for r in csv.DictReader(file) if r.get("stage", stage) == stage]


def _command(outputs: Path, t: Trained) -> str:
    """What was typed, of the first seed."""
    path = outputs / t.folder.split("/")[0] / COMMAND
    return path.read_text().strip() if path.is_file() else "?"
