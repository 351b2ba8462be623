"""The part 'On other hardware' of a report, and `report.py table=transfer`: what measure.py name=STUDY measured, beside what
the search saw. Numbers: transfer.py; figure: transfer_plot.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.document import Heading, Item, Paragraph, Picture, Table, plain, three
from analysis.front import front, nets
from analysis.records import Record, StudyError
from analysis.transfer import CLOCK, HOLDS, PARTLY, Floats, Ints, Transfer, read_measured, transfer
from analysis.transfer_plot import transfer_figure

FEWEST = 3  # nets of which an order can be told


def elsewhere(record: Record, folder: Path) -> list[Item]:
    """Nothing where nothing was measured again; a note in place of all where measured.csv cannot be used (a search that took
    hours does not fail for it)."""
    head = Heading("On other hardware")
    try:
        measured = read_measured(folder)
        if measured is None:
            return []
        found = transfer(record, measured)
    except StudyError as error:
        return [head, Paragraph(f"Not shown: {plain(error)}.", "note")]
    apart = ~np.eye(len(found.labels), dtype=bool)
    fewest, nets_of = found.common[apart].min(), found.common[apart].max()
    over = f"{fewest} to {nets_of}" if fewest < nets_of else f"{fewest}"
    caption = (
        f"Over the nets that two settings both have ({over}). Left (on a narrow page above): Kendall's tau of the order of the "
        f"nets under two settings (1: the same; from {HOLDS:g} on we say that it holds, from {PARTLY:g} on in part). Right: "
        "share of the hypervolume (validation top-1 and latency, up to 0 % and the slowest net) that is lost on the column's "
        "setting when only the nets on the front of the row's setting are kept."
    )
    draw = lambda palette, wide=True: transfer_figure(found, palette, wide)  # noqa: E731
    note = (
        "Latency in ms with its 95 % interval. The first column repeats the front's table; the picture compares what the search "
        "chose by, its trials. Each other setting was measured in one interleaved session."
    )
    if found.busy:
        note += f" The machine was busy during: {'; '.join(found.busy)}. Read with care."
    return [head, Paragraph(finding(found)), _table(record, found), Paragraph(note, "note"), Picture("transfer", draw, caption)]


def finding(found: Transfer) -> str:
    """One sentence: whether the search's order holds under the setting where it holds least, and what choosing by it loses at
    most."""
    own, others = found.labels[0], range(1, len(found.labels))
    told = [i for i in others if found.common[0, i] >= FEWEST and not np.isnan(found.tau[0, i])]
    if not told:
        return f"Fewer than {FEWEST} nets are measured under two settings: too few to tell whether their order holds."
    least = min(told, key=lambda i: found.tau[0, i])
    most = max(told, key=lambda i: (np.nan_to_num(found.regret[0, i], nan=-1.0), -found.tau[0, i]))
    tau, n, pairs = found.tau[0, least], found.common[0, least], found.swapped[0, least]
    holds = "holds" if tau >= HOLDS else "holds in part" if tau >= PARTLY else "does not hold"
    holds = "holds as far as the intervals tell" if tau < HOLDS and pairs == 0 else holds
    clear = "no pair changes" if pairs == 0 else "1 pair changes" if pairs == 1 else f"{pairs} pairs change"
    where = f", of {len(told)} other settings the one that agrees least" if len(told) > 1 else ""
    price = _price(found.regret[0, most], found.labels[most], len(told), most == least)
    return (
        f"The order of the nets measured with {own} **{holds}** with {found.labels[least]} (tau {tau:.2f} over {n} nets; {clear} "
        f"order by more than the 95 % intervals){where}; {price}."
    )


def _price(loss: float, label: str, settings: int, there: bool) -> str:
    """What choosing by the search's latencies loses under the setting `label`, the one of `settings` where it loses most."""
    if np.isnan(loss):
        return "how much hypervolume choosing by the search's latencies loses cannot be told"
    lost = "nothing" if loss <= 0 else "less than 0.1 %" if loss < 0.001 else f"{100 * loss:.2g} %"
    if settings == 1:
        return f"choosing by the search's latencies loses **{lost}** of its hypervolume"
    if loss <= 0:
        return "choosing by the search's latencies loses no hypervolume under any of them"
    where = "there" if there else f"with {label}"
    return f"choosing by the search's latencies loses at most **{lost}** of the hypervolume, {where}"


def _table(record: Record, found: Transfer) -> Table:
    """The rows of the front's table: its nets and the anchors, fastest first."""
    table, chosen = nets(record), front(record)
    numbers = {net: str(i) for i, net in enumerate(chosen["id"], 1)}
    shown = table[table["id"].isin(chosen["id"]) | (table["origin"] == "anchor")]
    rows, strong = [], set()
    for row, (_, net) in enumerate(shown.iterrows()):
        anchor = net["origin"] == "anchor"
        if net["id"] in numbers and not anchor:
            strong.add(row)
        first = net[["latency_ms", "latency_low_ms", "latency_high_ms"]].set_axis(CLOCK)
        clocks = [first, *(c.loc[net["id"]] if net["id"] in c.index else first * np.nan for c in found.clocks[1:])]
        name = plain(record.anchors.get(net["id"], "")) if anchor else f"`{net['id']}`"
        rows.append((numbers.get(net["id"], ""), name, *(_cell(c) for c in clocks)))
    head = ("#", "net", *(f"{i} · {label}" for i, label in enumerate(found.labels, 1)))  # numbered as in the picture
    return Table(head, tuple(rows), frozenset({0, *range(2, len(head))}), frozenset(strong))


def _cell(clock: pd.Series) -> str:
    if pd.isna(clock["latency_ms"]):
        return "not measured"
    if pd.isna(clock["low_ms"]):
        return three(clock["latency_ms"])
    return f"{three(clock['latency_ms'])} ({three(clock['low_ms'])}–{three(clock['high_ms'])})"


def transfer_text(record: Record, folder: Path) -> str:
    """The matrices for a terminal. StudyError when there are not two settings."""
    found = transfer(record, read_measured(folder))
    numbers = [str(i) for i in range(1, len(found.labels) + 1)]
    lines = [f"{i}  {label}" for i, label in zip(numbers, found.labels)]

    def matrix(title: str, values: Floats | Ints, how: str) -> None:
        cells = [["", *numbers], *([n, *(format(v, how) for v in row)] for n, row in zip(numbers, values))]
        lines.extend(["", title, *("".join(c.rjust(8) for c in row) for row in cells)])

    matrix("Kendall's tau-b of the latencies", found.tau, ".3f")
    matrix("Hypervolume lost on the column's setting by choosing on the row's, %", 100 * found.regret, ".2f")
    matrix("Pairs that change order by more than their 95 % intervals", found.swapped, "d")
    matrix("Nets in common", found.common, "d")
    return "\n".join([*lines, "", finding(found).replace("**", "")])
