"""What report.py prints: tables as text, figures as PNG, and one line for the best net under a budget. Most are of a study; some
of the classic nets, which study/measuring/lecture.py counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.classics import classics_text
from analysis.classics_figures import write_classics
from analysis.decisions_plot import write_decisions
from analysis.elsewhere import transfer_text
from analysis.front import best_under, front, front_csv, nets
from analysis.gates_table import gates_text
from analysis.palette import LIGHT, png
from analysis.plots import effects_figure, front_figure, hypervolume_figure
from analysis.records import Record
from analysis.skipnet_plot import write_skipnet
from analysis.skipnet_table import skipnet_text
from analysis.trainings import trainings_text, write_trainings


def _text(table: pd.DataFrame) -> str:
    return str(table.to_string(index=False, float_format=lambda v: f"{v:.4g}", na_rep=""))


def _anchors(record: Record) -> str:
    table = nets(record)
    return _text(table[table["origin"] == "anchor"].drop(columns=["origin"]))


# a record and its output folder, where what measure.py measured again lies
TABLES: dict[str, Callable[[Record, Path], str]] = {
    "front": lambda record, folder: _text(front_csv(record).drop(columns=["reason", "state"])),
    "trials": lambda record, folder: _text(record.trials),
    "anchors": lambda record, folder: _anchors(record),
    "transfer": transfer_text,
}
FIGURES: dict[str, Callable[[Record], bytes]] = {
    "front": lambda record: png(front_figure(record, LIGHT)),
    "hypervolume": lambda record: png(hypervolume_figure(record, LIGHT)),
    "effects": lambda record: png(effects_figure(record, LIGHT)),
}
# what needs no study: the outputs folder and that of name= (None without one) -> what to print; StudyError says the cure
OF_TRAININGS: dict[tuple[str, str], Callable[[Path, Path | None], str]] = {
    ("table", "skipnet"): lambda outputs, folder: skipnet_text(outputs),
    ("figure", "skipnet"): lambda outputs, folder: write_skipnet(outputs),
    ("figure", "decisions"): lambda outputs, folder: write_decisions(folder),
    ("table", "trainings"): lambda outputs, folder: trainings_text(outputs),
    ("figure", "trainings"): lambda outputs, folder: write_trainings(outputs),
}
# of the classic nets: what study/measuring/lecture.py counts for it (FACTS of the same key), the outputs folder -> what to print
OF_LECTURE: dict[tuple[str, str], Callable[[dict[str, pd.DataFrame], Path], str]] = {
    ("table", "classics"): classics_text,
    ("table", "gates"): lambda facts, outputs: gates_text(facts),
    ("figure", "classics"): write_classics,
}


def known(key: str) -> tuple[str, ...]:
    """All values of `table` or `figure`."""
    return (*(TABLES if key == "table" else FIGURES), *(what for of, what in (*OF_TRAININGS, *OF_LECTURE) if of == key))


def summary_table(record: Record) -> str:
    """The front beside the anchors, for the end of a search: a dozen lines that fit a terminal."""
    table, chosen = nets(record), set(front(record)["id"])
    shown = table[table["id"].isin(chosen) | (table["origin"] == "anchor")]
    rows = [("", "net", "val top-1 %", "test top-1 %", "latency ms", "M mult-adds")]
    for _, net in shown.iterrows():
        test = "" if pd.isna(net["top1_test"]) else f"{net['top1_test']:.2f}"
        mark = "front" if net["id"] in chosen else ""
        rows.append(
            (mark, net["net"] or net["id"], f"{net['top1_val']:.2f}", test, f"{net['latency_ms']:.3g}", f"{net['macs_m']:.2f}")
        )
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows
    )


def best_line(record: Record, max_latency_ms: float, folder: Path) -> str:
    """The best net under a budget in ms with its numbers and its path; says so when there is none."""
    best = best_under(record, max_latency_ms)
    if best is None:
        every = nets(record)
        fastest = f"; the fastest takes {every['latency_ms'].min():.3g} ms" if len(every) else ""
        return f"No net of {record.name} is within {max_latency_ms:g} ms{fastest}."
    name = f"{best['net']} ({best['id']})" if best["net"] else best["id"]
    test = "" if pd.isna(best["top1_test"]) else f", test {best['top1_test']:.2f} %"
    saved = folder / "nets" / str(best["id"])
    where = str(saved) if saved.is_dir() else "not saved: only the front's nets and the anchors are, after the finalists' stage"
    return (
        f"{name}: val top-1 {best['top1_val']:.2f} %{test}, {best['latency_ms']:.3g} ms "
        f"[{best['latency_low_ms']:.3g}, {best['latency_high_ms']:.3g}]\n{where}"
    )
