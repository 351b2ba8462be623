"""What successive halving (study/halving.py) did and what it cost: promotions merged into the rows, and its part of a report.

A row of `Record.rungs` is one training: a net to its first rung (why: first), on to another (rung), in full though it was halted
(sample), or in full by another seed (seed). `epochs` are those that the net has behind it, `epochs_run` those really run for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.document import Bullets, Heading, Item, Paragraph
from analysis.pareto import front_mask, hypervolume

if TYPE_CHECKING:
    from analysis.records import Record

RUNGS = (
    "of",
    "id",
    "origin",
    "why",
    "rung",
    "seed",
    "state",
    "top1_val",
    "latency_ms",
    "epochs",
    "epochs_run",
    "seconds",
    "reused_from",
)
MERGED = ("top1_val", "latency_ms", "latency_low_ms", "latency_high_ms", "latency_n", "keep_rate", "epochs")


def rung_rows(
    rows: Iterable[tuple[int, str, Mapping[str, Any]]], moved: Iterable[tuple[str, Mapping[str, Any]]], offset: int = 0
) -> list[dict[str, Any]]:
    """The trainings of one study. rows: (number, state, attributes) of its trials; moved: (state, attributes) of its promotions;
    offset: what the numbers of its trials were raised by."""
    found = [{**a, "of": number, "why": "first", "rung": 0, "state": state} for number, state, a in rows]
    return found + [{**a, "of": a["of"] + offset, "state": state} for state, a in moved if "of" in a]


def rung_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Columns RUNGS; epochs_run is 0 where nothing had to be trained."""
    table = pd.DataFrame([{c: r.get(c) for c in RUNGS} for r in rows], columns=list(RUNGS))
    for column in ("top1_val", "latency_ms", "epochs", "epochs_run", "seconds"):
        table[column] = pd.to_numeric(table[column]).astype(float)
    return table.assign(epochs_run=table["epochs_run"].fillna(0.0))


def merged(row: dict[str, Any], rungs: Iterable[Mapping[str, Any]], plan: Sequence[int]) -> dict[str, Any]:
    """A row of trials.csv with what its net reached by the search's own seed: COMPLETE in full, PRUNED where it was halted."""
    if row["state"] != "COMPLETE":
        return row
    mine = [r for r in rungs if r["of"] == row["number"] and r["why"] != "first" and r["state"] == "COMPLETE"]
    own = [r for r in mine if r["seed"] == row["seed"]]
    last = max(own, key=lambda r: r["rung"], default={})
    row = {**row, **{k: last[k] for k in MERGED if last.get(k) is not None}}
    row["seconds"] = (row["seconds"] or 0.0) + sum(r.get("seconds") or 0.0 for r in mine)
    if row["epochs"] != plan[-1]:
        row |= {"state": "PRUNED", "reason": f"halted after {row['epochs']} of {plan[-1]} epochs"}
    return row


@dataclass(frozen=True)
class Halved:
    """`spent` of `whole` epochs by the rungs; `seeds`, `sample`: epochs on top. tau: Kendall's, between the first rung and in
    full, over `n` nets. `joined` of `sampled` of `halted` nets would have been on the front of the `full` ones."""

    nets: int
    full: int
    halted: int
    spent: float
    whole: float
    seeds: float
    sample: float
    tau: float
    n: int
    sampled: int
    joined: int
    reused: int = 0  # trainings by the rungs that came from the ledger


def halved(record: Record) -> Halved | None:
    """The figures of the search's own halving (not its control's), where there was one."""
    plan = record.settings.get("halving")
    table = record.rungs[record.rungs["origin"] != "control"] if len(record.rungs) else record.rungs
    first = table[(table["why"] == "first") & (table["state"] == "COMPLETE")].set_index("of")
    if not plan or first.empty:
        return None
    whole = float(plan["rungs"][-1])
    done = table[(table["state"] == "COMPLETE") & (table["epochs"] == whole)]
    full, sample = (done[done["why"] == why].drop_duplicates("of") for why in ("rung", "sample"))
    both = pd.concat([full, sample]).drop_duplicates("of")
    from scipy.stats import kendalltau  # takes a second to import, and few studies halve

    tau = kendalltau(first.loc[both["of"], "top1_val"], both["top1_val"]).statistic if len(both) > 2 else float("nan")
    joined, budget = 0, record.settings.get("max_latency_ms")
    for row in sample.to_dict("records"):
        with_it = pd.concat([full if budget is None else full[full["latency_ms"] <= budget], pd.DataFrame([row])])
        within = budget is None or row["latency_ms"] <= budget
        joined += within and bool(front_mask(with_it["top1_val"], with_it["latency_ms"])[-1])
    run = table.groupby("why")["epochs_run"].sum()
    return Halved(
        nets=len(first), full=len(full), halted=len(first) - len(full), spent=float(run.get("first", 0) + run.get("rung", 0)),
        whole=whole * len(first), seeds=float(run.get("seed", 0)), sample=float(run.get("sample", 0)), tau=float(tau),
        n=len(both), sampled=len(sample), joined=joined,
        reused=int(table[table["why"].isin(["first", "rung"])]["reused_from"].notna().sum()),
    )  # fmt: skip


def front_volume(record: Record, reference: tuple[float, float]) -> float:
    """Hypervolume (percent x ms) of the nets that the rungs, without the sample, trained in full."""
    whole = record.settings["halving"]["rungs"][-1]
    table = record.rungs[(record.rungs["why"] == "rung") & (record.rungs["state"] == "COMPLETE")]
    table = table[(table["epochs"] == whole) & (table["origin"] != "control")]
    return hypervolume(table["top1_val"], table["latency_ms"], reference)


def halving_part(record: Record) -> list[Item]:
    """The report's section; empty without halving."""
    if (h := halved(record)) is None:
        return []
    plan = record.settings["halving"]
    rungs = ", ".join(str(r) for r in plan["rungs"])
    said = [
        f"**Epochs**: {h.spent:g} by the rungs, where training all {h.nets} nets in full takes {h.whole:g}"
        + (f" ({h.spent / h.whole:.0%})" if not h.reused else f"; but {h.reused} of these trainings came from the ledger")
        + f"; {h.full} nets were trained in full, {h.halted} halted.",
    ]
    if h.seeds or h.sample:
        said.append(f"On top of that {h.seeds:g} epochs for second seeds and {h.sample:g} for the sample of halted nets.")
    if h.n > 2:
        said.append(
            f"**Ranks**: Kendall's tau between val top-1 after {plan['rungs'][0]} and after {plan['rungs'][-1]} epochs is "
            f"{h.tau:.2f} over the {h.n} nets that were trained in full; those that were promoted are a choice of the best, in "
            "which ranks differ least."
        )
    if h.sampled:
        joined = f"{h.joined} of them is" if h.joined == 1 else f"{h.joined or 'none'} of them are"
        said.append(
            f"**What halting cost**: of {h.halted} halted nets {h.sampled}, drawn at random, were trained in full all the same; "
            f"beside the promoted ones {joined} on the front."
        )
    items: list[Item] = [
        Heading("Epochs by Pareto rank"),
        Paragraph(
            f"Nets were judged after {rungs} epochs; of each rung the best 1/{plan['eta']:g} went on, by non-dominated rank in "
            "(val top-1, latency), ties by hypervolume contribution. Halted nets read PRUNED in the table of trials."
        ),
        Bullets(tuple(said)),
    ]
    again = second_seeds(record)
    if again:
        items += [Paragraph("Second seeds of the nets on and near the front (val top-1, %):"), Bullets(tuple(again), folded=6)]
    return items


def second_seeds(record: Record) -> list[str]:
    """A line a net that was trained by more than one seed in full."""
    table = record.rungs[(record.rungs["why"] != "first") & (record.rungs["state"] == "COMPLETE")]
    table = table[table["origin"] != "control"] if len(table) else table
    if table.empty:
        return []
    table = table[table["epochs"] == record.settings["halving"]["rungs"][-1]].drop_duplicates(["of", "seed"])
    found = []
    for _, group in table.groupby("of", sort=False):
        if len(group) > 1:
            values = ", ".join(f"{v:.2f}" for v in group["top1_val"])
            found.append(f"`{group['id'].iloc[0]}`: {values}; mean {group['top1_val'].mean():.2f}")
    return found
