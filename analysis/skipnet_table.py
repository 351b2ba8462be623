"""`report.py table=skipnet`: the trainings of SkipNet as text, with what they say."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

from analysis.document import three
from analysis.skipnet import DataSet, Row, data_sets
from analysis.skipnet_cards import CONTROLS, STAGES, read_trainings
from analysis.skipnet_judged import judged

# CIFAR-10, RNN gates after HRL: top-1 in percent and "computation percentage" (README of github.com/ucbdrive/skipnet @4825e53)
PUBLISHED = {"skipnet_38-rnn": (92.75, 70.3), "skipnet_74-rnn": (92.77, 52.3), "skipnet_110-rnn": (93.30, 49.5)}
HEAD = ("net", "stage", "skip_alpha", "seeds", "epochs", "data", "top-1 %", "keep rate", "their %", "M mult-adds", "of dense",
        "latency ms", "published")  # fmt: skip
NOTES = (
    "supervised: gates trained with the skip reward from the first epoch on.",
    "epochs: HRL's on top of SP's.",
    "data: share of the training images.",
    "top-1 on the test images: mean ± standard deviation over seeds.",
    'their %: the "computation percentage" of SkipNet\'s code, (blocks kept + 1) / (gates + 1).',
    "M mult-adds: mean of an image over the test images, gates included.",
    "of dense: of the net without gates; *: that is not trained, of the net itself with all blocks open.",
    "latency: mean over seeds [lowest, highest bound of their 95 % intervals].",
    "published: top-1 at their %, CIFAR-10.",
)
WIDTH = 130


def skipnet_text(outputs: Path) -> str:
    """One table a data set, each followed by its sentences. StudyError when there is no gated net."""
    parts = []
    for data in data_sets(read_trainings(outputs)):
        marks = _settings(data)
        size = f", {data.resolution} px" if data.resolution else ""
        parts.append(f"{data.name}{size}, {data.rows[0].first.images:,} test images\n\n" + _aligned([HEAD, *_cells(data, marks)]))
        notes = [f"{mark or 'latency'}: {setting}" for setting, mark in marks.items()]
        if data.repeats:
            notes.append(f"Not counted, for another of the same net, recipe and seed is: {', '.join(data.repeats)}.")
        parts.append("\n".join(_folded(n) for n in [*notes, *_untrained(data)]))
        parts.append("\n".join(_folded(f"- {line}", "  ") for line in judged(data)))
    return "\n\n".join([*(p for p in parts if p), _folded(" ".join(NOTES))])


def _cells(data: DataSet, marks: dict[str, str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for row in data.rows:
        control = row.stage in CONTROLS
        rows.append(
            (
                ("  of it: " if row.of else "") + (STAGES[row.stage] if row.of else row.net),
                "" if row.of else STAGES[row.stage] + (f" ({row.differs})" if row.differs else ""),
                "" if math.isnan(row.skip_alpha) or control else f"{row.skip_alpha:g}",
                str(row.seeds),
                row.epochs,
                f"{row.first.fraction:.0%}",
                f"{row.mean('top1'):.2f}" + (f" ± {row.sd('top1'):.2f}" if row.seeds > 1 else ""),
                _rate(row),
                "" if math.isnan(rate := row.mean("paper_rate")) else f"{rate:.1f}",
                f"{row.mean('macs_m'):.2f}",
                _of_dense(data, row),
                _latency(row, marks),
                _published(data, row),
            )
        )
    return rows


def _rate(row: Row) -> str:
    return "" if row.stage == "none" or math.isnan(rate := row.mean("keep_rate")) else f"{rate:.1%}"


def _of_dense(data: DataSet, row: Row) -> str:
    if row.stage == "none":
        return ""
    head = row.of or row
    if plain := data.plain(head):
        return f"{row.mean('macs_m') / plain.mean('macs_m'):.1%}"
    return f"{row.mean('macs_m') / head.mean('open_m'):.1%}*"


def _latency(row: Row, marks: dict[str, str]) -> str:
    ms = row.mean("latency_ms")
    if math.isnan(ms):
        return "not measured"
    low, high = row.interval_ms()
    interval = "" if math.isnan(low) else f" [{three(low)}, {three(high)}]"
    return three(ms) + interval + "".join(sorted({marks[t.setting] for t in row.trained if t.setting}))


def _settings(data: DataSet) -> dict[str, str]:
    """Setting -> its mark in the table, "" for the one of most nets."""
    others = sorted({t.setting for r in data.rows for t in r.trained if t.setting} - {data.setting})
    return {**({data.setting: ""} if data.setting else {}), **{s: f" ({chr(ord('a') + i)})" for i, s in enumerate(others)}}


def _published(data: DataSet, row: Row) -> str:
    if data.name != "cifar10" or row.stage != "hrl" or row.net not in PUBLISHED:
        return ""
    return "{:.2f} at {:.1f} %".format(*PUBLISHED[row.net])


def _untrained(data: DataSet) -> list[str]:
    """On CIFAR-10: the nets with published numbers that no row answers."""
    there = {r.net for r in data.rows if r.stage == "hrl"}
    missing = [f"{net} ({top1:.2f} % at {rate:.1f} %)" for net, (top1, rate) in PUBLISHED.items() if net not in there]
    return [f"Published, not trained here: {', '.join(missing)}."] if data.name == "cifar10" and missing else []


def _aligned(rows: list[tuple[str, ...]]) -> str:
    shown = [i for i, name in enumerate(rows[0]) if name in ("net", "stage") or any(r[i] for r in rows[1:])]
    wide = {i: max(len(r[i]) for r in rows) for i in shown}
    return "\n".join("  ".join(r[i].ljust(wide[i]) if i < 2 else r[i].rjust(wide[i]) for i in shown).rstrip() for r in rows)


def _folded(text: str, indent: str = "") -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
