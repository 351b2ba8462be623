"""What was found, in three sentences that follow from the numbers and from nothing else.

1. At or below an anchor's latency: the best net found, what it gains, and whether that is more than noise. Of all anchors the
   one where the gain on validation is the largest, so that test does not choose what is told.
2. The same question for every anchor, counted.
3. At an anchor's accuracy (on validation): the fastest net found. Of all anchors the one where it saves the largest share of
   the latency.

What is more than noise leads: the third goes first where it is and the first is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.document import signed
from analysis.effects import SAME, compare
from analysis.front import front, nets, within
from analysis.records import Record

CLEARLY = "the intervals do not overlap"


@dataclass(frozen=True)
class Rival:
    """An anchor, and the best net found (on validation) at or below its latency, or None; `gain`: see effects.compare."""

    anchor: pd.Series
    name: str
    net: pd.Series | None
    gain: dict


def rivals(record: Record) -> list[Rival]:
    """One for each measured anchor, the fastest first."""
    table = nets(record)
    found = within(table[table["origin"] != "anchor"], record.settings.get("max_latency_ms"))
    out = []
    for _, anchor in table[table["origin"] == "anchor"].iterrows():
        fit = within(found, anchor["latency_ms"]).sort_values(["top1_val", "latency_ms"], ascending=[False, True])
        net = fit.iloc[0] if len(fit) else None
        name = record.anchors.get(anchor["id"], anchor["net"] or anchor["id"])
        out.append(Rival(anchor, name, net, compare(record, net, anchor) if net is not None else {}))
    return out


def sentences(record: Record) -> list[str]:
    """One to three sentences with inline markup (see document.py)."""
    table, chosen = nets(record), front(record)
    found = within(table[table["origin"] != "anchor"], record.settings.get("max_latency_ms"))
    if table.empty:
        return [
            "No net has been trained and measured yet, so there is nothing to report but how it is being done."
            if not record.finished
            else "No net was trained and measured: nothing was found."
        ]
    if found.empty and (table["origin"] != "anchor").any():
        return [_range(record, found)]
    trials = record.trials
    trained = int(((trials["origin"] == "search") & (trials["state"] == "COMPLETE")).sum())
    if found.empty and record.finished and trained:  # only the front and the anchors become finalists
        return [f"None of the {trained} nets that the search trained is on the front: the anchors hold all of it."]
    if found.empty:
        return [
            f"Only the {len(table)} anchors are measured so far; no net of the search's own."
            if not record.finished
            else "No net of the search's own was trained: there are only the anchors."
        ]
    everyone = rivals(record)
    if not everyone:
        return [_range(record, chosen), "There were no anchors, so nothing says how a classic net would have done here."]
    with_net = [r for r in everyone if r.net is not None]
    if not with_net:
        return [
            f"No net found is as fast as the slowest anchor ({everyone[-1].name}, {_ms(everyone[-1].anchor)}).",
            _range(record, chosen),
        ]
    best, fastest = max(with_net, key=lambda r: r.gain["val"]), _fastest(record, everyone, found)
    told = [_best(record, best), _count(record, everyone), fastest]
    # what is more than noise leads
    leads = CLEARLY in fastest and "times as fast" in fastest  # and not "times its latency"
    return [fastest, *told[:2]] if leads and best.gain.get("accuracy_verdict") != "better" else told


def _best(record: Record, rival: Rival) -> str:
    assert rival.net is not None
    on = "test" if record.by_finalists else "validation"
    gain = rival.gain["test" if record.by_finalists else "val"]
    where = f"At or below the latency of {rival.name} ({_ms(rival.anchor)}, {_top(record, rival.anchor)})"
    if rival.gain["val"] <= 0:
        best = f"{named(rival.net)} with {_top(record, rival.net)} at {_ms(rival.net)}"
        return f"{where} **no net found is more accurate on validation**; the best is {best}."
    noise = _noise(rival.gain["accuracy_half"])
    points = f"{signed(gain, 1)}{noise} points"
    judged = {
        "better": f"**{points}**, more than noise",
        "worse": f"**{points}**, worse by more than noise",
        SAME: f"{points}, **not distinguishable** from it",
        "not judged": f"**{points}**, picked on the same images with one seed: the finalists will tell",
    }
    return (
        f"{where} the best net found is {named(rival.net)}: {_top(record, rival.net)} {on} top-1 at {_ms(rival.net)}, "
        f"{judged[rival.gain['accuracy_verdict']]}."
    )


def _count(record: Record, everyone: list[Rival]) -> str:
    verdicts = [r.gain.get("accuracy_verdict") for r in everyone]
    if not record.by_finalists or "not judged" in verdicts:
        ahead = sum(bool(r.gain) and r.gain["val"] > 0 for r in everyone)
        return (
            f"Asked of each anchor, a net found is ahead of {ahead} of {len(everyone)} on validation at no more latency; "
            "whether by more than noise is not judged."
        )
    told = {"better": "is more accurate than", SAME: "cannot be told from", "worse": "is less accurate than"}
    all_of_them = {"better": "each of them", SAME: "any of them", "worse": "each of them"}
    parts = [
        f"{text} {all_of_them[verdict] if verdicts.count(verdict) == len(everyone) > 1 else verdicts.count(verdict)}"
        for verdict, text in told.items()
        if verdict in verdicts
    ]
    missing = sum(r.net is None for r in everyone)
    parts += [f"does not exist for {missing} (none is that fast)"] if missing else []
    return f"Asked of each of the {len(everyone)} anchors, the best net found at no more latency {_join(parts)}."


def _fastest(record: Record, everyone: list[Rival], found: pd.DataFrame) -> str:
    """Of all anchors the one whose validation accuracy is reached in the smallest share of its latency."""
    pairs = [
        (rival, enough.iloc[0])
        for rival in everyone
        if len(enough := found[found["top1_val"] >= rival.anchor["top1_val"]].sort_values("latency_ms"))
    ]
    if not pairs:
        least = min(everyone, key=lambda r: r.anchor["top1_val"])
        where = f"{least.name} ({_top(record, least.anchor)} at {_ms(least.anchor)})"
        return f"No net found reaches the validation accuracy of any anchor, not of the least accurate, {where}."
    rival, net = min(pairs, key=lambda p: p[1]["latency_ms"] / p[0].anchor["latency_ms"])
    gain = compare(record, net, rival.anchor)
    ratio, verdict = gain["latency_ratio"], gain["latency_verdict"]
    speed = f"{1 / ratio:.2f} times as fast" if ratio < 1 else f"{ratio:.2f} times its latency"
    judged = {SAME: f"{speed}, **not distinguishable** on the clock", "not judged": speed}.get(
        verdict, f"**{speed}** ({CLEARLY})"
    )
    on = f" ({signed(gain['test'], 1)}{_noise(gain['accuracy_half'])} points on test)" if record.by_finalists else ""
    return (
        f"At the validation accuracy of {rival.name} ({_ms(rival.anchor)}), the fastest net found is {named(net)} "
        f"at {_ms(net)}{on}: {judged}."
    )


def _range(record: Record, chosen: pd.DataFrame) -> str:
    if chosen.empty:
        return f"None of the nets fits the latency budget of {record.settings.get('max_latency_ms'):g} ms."
    first, last = chosen.iloc[0], chosen.iloc[-1]
    if len(chosen) == 1:
        return f"The front is one net, {named(first)}: {_top(record, first)} at {_ms(first)}."
    return f"The front has {len(chosen)} nets, from {_top(record, first)} at {_ms(first)} to {_top(record, last)} at {_ms(last)}."


def named(net: pd.Series) -> str:
    return f"`{net['id']}`"


def _ms(net: pd.Series) -> str:
    return f"{net['latency_ms']:.3g} ms"


def _top(record: Record, net: pd.Series) -> str:
    return f"{net['top1_test' if record.by_finalists else 'top1_val']:.1f} %"


def _noise(half: float) -> str:
    return "" if pd.isna(half) else f" ± {half:.1f}"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
