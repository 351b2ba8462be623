"""What a report says, in which order: the answer and one figure, then hypervolume, the front, what changed and what it bought,
the choices' effects, what binds the nets here, other hardware, and how it was done. Record in, Document out."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.controls import beside_control
from analysis.document import Bullets, Code, Document, Heading, Item, Paragraph, Picture, Table, plain, signed, three
from analysis.effects import SAME, Bought, accuracy_half, bought, main_effects
from analysis.elsewhere import elsewhere
from analysis.findings import sentences
from analysis.front import front, nets
from analysis.halving import halving_part
from analysis.levers import levers
from analysis.method import how_it_was_done, part
from analysis.plots import effects_figure, front_figure, hypervolume_figure, reference, spoken
from analysis.records import Record

RULE = (
    "Not distinguishable: for accuracy (judged on test, since validation chose the nets), a difference within 1.96 "
    "standard errors of the images (two binomials) and t standard errors of the "
    "seeds, added in squares; for latency, 95 % intervals that overlap."
)


def content(record: Record, folder: str | Path) -> Document:
    """The whole report; `folder` is where nets/<id> lie and how the lines that load them name them."""
    items: list[Item] = [*_state(record), *(Paragraph(s, "lead") for s in sentences(record))]
    table = nets(record)
    if len(table):
        items.append(Picture("front", lambda palette, wide=True: front_figure(record, palette, wide), _front_caption(record)))
        items += _hypervolume(record) + beside_control(record) + _front(record) + _bought(record, Path(folder)) + _effects(record)
    items += halving_part(record) + levers(record) + elsewhere(record, Path(folder)) + how_it_was_done(record)
    return Document(plain(record.name), _about(record), tuple(items))


def _about(record: Record) -> str:
    data, hardware = part(record.settings, "data"), part(record.settings, "hardware")
    trained = record.trials[(record.trials["state"] == "COMPLETE") & (record.trials["origin"] != "anchor")]
    parts = [
        f"{len(trained)} nets trained beside {len(record.anchors)} anchors",
        str(data.get("name") or ""),
        str(record.machine.get("gpu") or ""),
        str(next((record.machine[k] for k in ("cpu", "cpu_model", "model") if record.machine.get(k)), ""))
        if hardware.get("name") != "gpu"
        else "",
        str(hardware.get("runtime") or ""),
    ]
    return " · ".join(plain(p) for p in parts if p and p != "None")


def _state(record: Record) -> list[Item]:
    if record.finished:
        return [Paragraph(f"The search ended early: {plain(record.ended)}.", "note")] if record.ended else []
    done = int(((record.trials["state"] == "COMPLETE") & (record.trials["origin"] == "search")).sum())
    wanted = record.settings.get("n_trials", "?")
    step = {"finalists": "The search is through, its finalists are still being trained and measured"}.get(
        record.phase, f"The search is still running: {done} of {wanted} nets are trained"
    )
    return [
        Paragraph(
            f"**{step}** (or it was interrupted: then the same command goes on where it stopped). The numbers below "
            f"are the search's "
            "own: a short recipe, one seed, and the validation images that the search chose by, so no difference in "
            "accuracy is judged yet.",
            "state",
        )
    ]


def _front_caption(record: Record) -> str:
    line = "The line is what one gets at each latency budget. Bars are 95 % intervals. "
    if record.by_finalists:
        return (
            f"Test top-1 against latency of the finalists, trained by one recipe and timed side by side. {line}The front "
            f"is chosen on validation, "
            "so a step of the test line may go down."
        )
    bars = "" if record.val_n else " The number of validation images is not known, so accuracy has no bar."
    return (
        f"**Validation** top-1 (not test) against latency of the search's trials; finalists are not through. {line}{bars}".strip()
    )


def _hypervolume(record: Record) -> list[Item]:
    _, words = reference(record)
    caption = (
        f"Area that the nets so far dominate in (validation top-1, latency), up to the reference point {words}. "
        "More is better; it never falls." + (" Dashed: the control." if (record.trials["origin"] == "control").any() else "")
    )
    return [
        Heading("Hypervolume over trials"),
        Picture("hypervolume", lambda palette, wide=True: hypervolume_figure(record, palette, wide), caption),
    ]


def _front(record: Record) -> list[Item]:
    table, chosen = nets(record), front(record)
    numbers = {net: str(i) for i, net in enumerate(chosen["id"], 1)}
    shown = table[table["id"].isin(chosen["id"]) | (table["origin"] == "anchor")]
    on_test = record.by_finalists
    head = (
        "#",
        "net",
        *(("test top-1, %",) if on_test else ()),
        "val top-1, %",
        "latency, ms",
        "95 %",
        "mult-adds, M",
        "params, M",
        "kept",
        "seeds",
    )
    rows, strong = [], set()
    for row, (_, net) in enumerate(shown.iterrows()):
        if net["id"] in numbers and net["origin"] != "anchor":
            strong.add(row)
        name = plain(record.anchors.get(net["id"], "")) if net["origin"] == "anchor" else f"`{net['id']}`"
        test = (_pm(net["top1_test"], accuracy_half(record, net)),) if on_test else ()
        rows.append(
            (
                numbers.get(net["id"], ""),
                name,
                *test,
                _number(net["top1_val"], ".2f"),
                three(net["latency_ms"]),
                _range(net),
                _number(net["macs_m"], ".2f"),
                _number(net["params_m"], ".3f"),
                _number(net["keep_rate"] * 100 if pd.notna(net["keep_rate"]) else None, ".0f", " %"),
                _number(net["seeds"], "d"),
            )
        )
    keep = (
        "# counts along the front, fastest first; rows without it are anchors off the front; nets found carry an id. "
        "Kept: share of gated blocks that are run (mult-adds count them all; 0 % means that a shallower net without "
        "gates would do the same). The front is chosen on validation top-1 and latency"
    )
    keep += "; ± is the 95 % interval of images and seeds." if on_test else "."
    return [
        Heading("The front, beside the anchors"),
        Table(head, tuple(rows), frozenset(range(2, len(head))) | {0}, frozenset(strong)),
        Paragraph(keep, "note"),
    ]


def _bought(record: Record, folder: Path) -> list[Item]:
    chosen = front(record)
    items: list[Item] = [Heading("What changed, and what it bought")]
    for number, net in zip(range(1, len(chosen) + 1), chosen.to_dict("records")):
        if net["origin"] == "anchor":
            continue
        deal = bought(record, net["id"])
        items.append(Heading(f"{number} · {net['id']}", 3))
        if deal:
            items.append(Paragraph(_deal(record, deal)))
            if deal.edits:
                items += [
                    Paragraph(f"Changes that lead from {plain(deal.anchor)} to it:"),
                    Bullets(tuple(plain(e) for e in deal.edits), folded=5),
                ]
        path = folder / "nets" / str(net["id"])
        if path.is_dir():
            items.append(Code(f'searchspace.load("{_shown(path)}")'))
        elif record.finished:
            items.append(Paragraph(f"Its weights are not in nets/{net['id']}.", "note"))
    if len(items) == 1:
        items.append(Paragraph("No net found is on the front: the anchors hold all of it."))
    return [*items, Paragraph(RULE, "note")]


def _deal(record: Record, deal: Bought) -> str:
    on = "test" if record.by_finalists else "validation"
    value = deal.test if record.by_finalists else deal.val
    ratio = deal.latency_ratio
    accuracy = (
        f"**{signed(value, 2)}"
        + ("" if pd.isna(deal.accuracy_half) else f" ± {deal.accuracy_half:.2f}")
        + f" points** of {on} top-1"
    )
    clock = f"**{1 / ratio:.2f} times as fast**" if ratio <= 1 else f"**{ratio:.2f} times its latency**"
    verdicts = {"better": "", "worse": "", "faster": "", "slower": "", SAME: f" ({SAME})", "not judged": ""}
    both = f"{accuracy}{verdicts[deal.accuracy_verdict]}, {clock}{verdicts[deal.latency_verdict]}"
    more = f"; {signed(deal.val, 2)} points on validation" if record.by_finalists else ""
    return f"Against its nearest anchor, {plain(deal.anchor)} (distance {deal.distance}): {both}{more}."


def _effects(record: Record) -> list[Item]:
    table = main_effects(record)
    if table.empty or table["n"].max() < 3:
        return []
    head = ("choice", "column", "level", "n", "val top-1, points", "latency, factor")
    rows = tuple(
        (
            spoken(r["choice"]),
            f"`{plain(r['choice'])}`",
            plain(r["level"]),
            str(r["n"]),
            signed(r["top1"], 2) + ("" if pd.isna(r["top1_half"]) else f" ± {r['top1_half']:.2f}"),
            _factor(r["latency"], r["latency_half"]),
        )
        for r in table.to_dict("records")
    )
    caption = (
        "Mean of the nets with that choice minus the mean of all that were asked it, with 95 % intervals (Welch); "
        "filled: the interval leaves "
        "no effect out. The choices that explain most come first. The search does not draw evenly and many intervals "
        "are looked at: these "
        "are hints, not an experiment."
    )
    return [
        Heading("What each choice does"),
        Picture("effects", lambda palette, wide=True: effects_figure(record, palette, wide), caption),
        Table(head, rows, frozenset({3, 4, 5}), folded="All choices and levels"),
    ]


def _shown(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix()


def _number(value: Any, how: str, unit: str = "") -> str:
    return "" if value is None or pd.isna(value) else f"{value:{how}}{unit}"


def _pm(value: float, half: float) -> str:
    return _number(value, ".2f") + ("" if pd.isna(half) else f" ± {half:.2f}")


def _factor(log: float, half: float) -> str:
    return f"×{exp(log):.2f}" + ("" if pd.isna(half) else f" ({exp(log - half):.2f} to {exp(log + half):.2f})")


def _range(net: pd.Series) -> str:
    return "" if pd.isna(net["latency_low_ms"]) else f"{three(net['latency_low_ms'])}–{three(net['latency_high_ms'])}"
