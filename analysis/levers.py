"""The part 'What binds these nets here' of a report: for the most accurate net and the fastest, whether launches, memory or
arithmetic take the time on this machine, and so which change costs and which is nearly free. What says so was measured when the
study ended (hardware/regime.py)."""

from __future__ import annotations

from analysis.document import Bullets, Heading, Item, Paragraph, plain
from analysis.front import nets
from analysis.records import Record

MEANS = {
    "launch": "most of its time does not depend on the amount of work",
    "bandwidth": "work costs, but arithmetic is not what it waits for",
    "compute": "it does at least half of the arithmetic that this machine was seen to do",
}
RULE = (
    "Told by growth: the net's time with four images at once, with all widths doubled, and with one block more a stage, and its "
    "mult-adds a second against the most that a wide convolution reached here. Launch-bound: four images cost less than twice "
    "one. Of a gated net its ungated twin is asked. Compute-bound: at least half of that peak. Bandwidth-bound: the rest."
)


def levers(record: Record) -> list[Item]:
    """Nothing where it was not asked."""
    table = nets(record).set_index("id")
    known = {i: r for i, r in record.regimes.items() if i in table.index and r.get("name") in MEANS}
    if not known:
        return []
    rows = []
    for net_id, told in known.items():
        latency_ms = table.loc[net_id, "latency_ms"]
        name = plain(record.anchors[net_id]) if net_id in record.anchors else f"`{plain(net_id)}`"
        rows.append(
            f"{name} ({latency_ms:.3g} ms) is **{told['name']}-bound** ({told['of_peak']:.0%} of the measured peak): "
            f"{MEANS[told['name']]}. {plain(told['advice'][:1].upper() + told['advice'][1:])}."
        )
    return [Heading("What binds these nets here"), Bullets(tuple(rows)), Paragraph(RULE, "note")]
