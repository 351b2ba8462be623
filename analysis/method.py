"""How it was done: command, protocol, what became of the trials and why, settings and machine. The last part of a report."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from analysis.document import Bullets, Code, Heading, Item, Paragraph, Table, plain
from analysis.effects import seed_spread
from analysis.records import Record


def how_it_was_done(record: Record) -> list[Item]:
    items: list[Item] = [Heading("How it was done")]
    if record.command:
        items.append(Code(redact(record.command)))
    items.append(Bullets(tuple(_protocol(record))))
    states = sorted(set(zip(record.trials["origin"], record.trials["state"])))
    counts = Counter(zip(record.trials["origin"], record.trials["state"]))
    if states:
        items.append(
            Table(
                ("trials", "state", "count"),
                tuple((plain(o or "not yet said"), s, str(counts[o, s])) for o, s in states),
                frozenset({2}),
            )
        )
    failed = [
        *record.trials.loc[record.trials["state"].isin(["FAIL", "PRUNED"]), "reason"],
        *(
            f"finalist {r['id']}, seed {r['seed']}: {r['reason'] or 'no reason recorded'}"
            for r in record.runs.to_dict("records")
            if r["state"] == "FAIL"
        ),
    ]
    if failed:
        # "3.9 ms is over" and "4.1 ms is over" are one reason
        same: dict[str, list[str]] = {}
        for reason in failed:
            same.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), []).append(reason or "no reason recorded")
        told = sorted(same.values(), key=len, reverse=True)
        items += [
            Paragraph("Why trials failed or stopped:"),
            Bullets(
                tuple(f"{len(r)} × {plain(redact(r[0]))[:300]}" + (" (and the like)" if len(set(r)) > 1 else "") for r in told),
                folded=8,
            ),
        ]
    for title, values in (("All settings", record.settings), ("The machine", record.machine)):
        if values:
            flat = tuple((f"`{plain(k)}`", plain(redact(v))) for k, v in _flat(values))
            items.append(Table(("key", "value"), flat, folded=title))
    return items


def _lengths(record: Record) -> str:
    """How long a net was trained, and from how many seeds."""
    if not (plan := record.settings.get("halving")):
        return f"{record.settings.get('epochs', '?')} epochs a net, one seed"
    *rungs, whole = plan["rungs"]
    seeds = f"up to {plan['seeds']} seeds near the front" if plan["seeds"] > 1 else "one seed"
    return f"nets were halted after epoch {' or '.join(map(str, rungs))}, or trained for all {whole}, {seeds}"


def _protocol(record: Record) -> list[str]:
    s, data, hardware, final = (record.settings, *(part(record.settings, k) for k in ("data", "hardware", "finalists")))
    size = f", {record.space_size:,} distinct nets" if record.space_size else ""
    budget = f"{s['max_latency_ms']:g} ms" if s.get("max_latency_ms") else "none"
    said = [
        f"**Space and sampler**: {part(s, 'searchspace').get('name', '?')}{size}; "
        f"{part(s, 'sampler').get('name', '?')}, seed {s.get('seed', '?')}; "
        f"latency budget {budget}.",
        f"**Data**: {data.get('name', '?')}, {100 * float(data.get('fraction') or 1):g} % of its training images"
        + (f", {record.val_n} images for validation" if record.val_n else "")
        + ".",
        f"**Search**: {_lengths(record)}. It saw train and validation images only."
        + (f" Its first {record.starts} nets are anchors with one to three choices changed." if record.starts else ""),
    ]
    if len(record.finalists):
        spread, freedom = seed_spread(record)
        seeds = int(record.finalists["seeds"].max())
        noise = ""
        if freedom:
            noise = f" Between seeds test top-1 varies by {spread:.2f} points (standard deviation, {freedom} degrees of freedom)."
        elif seeds == 1:
            noise = " With one seed each, the spread between seeds is not known; intervals hold the images' part only."
        said.append(
            f"**Finalists**: front nets and anchors alike, {final.get('epochs', '?')} epochs, {seeds} "
            f"seed{'s' * (seeds != 1)} each; "
            f"the test images were opened once per net and seed, after the search.{noise}"
        )
    runtime = record.latency_session.get("runtime") or hardware.get("runtime", "?")
    busy = " The machine was busy meanwhile: read latencies with care." if record.latency_session.get("busy") else ""
    processes = record.latency_session.get("processes", 1)
    several = f"in {processes} fresh processes" if processes > 1 else "in one session"
    side = f"; the finalists once more, side by side {several}" if record.by_finalists else ""
    precision = hardware.get("precision") or "fp32"
    said.append(
        f"**Latency**: {runtime}, {precision}, {hardware.get('threads', '?')} thread(s), batch {hardware.get('batch', '?')}, at "
        f"the best pace that reference nets showed on this machine, with its 95 % interval{side}. "
        f"A skipped block is not run.{busy}"
    )
    if precision == "int8" and record.by_finalists and not record.int8:
        said.append("**Precision**: latencies are of the nets in int8, accuracies of fp32; in int8 they were not measured.")
    if record.int8:
        lost = [fp32 - int8 for fp32, int8 in record.int8.values()]
        said.append(
            f"**Precision**: latencies are of the nets in int8, accuracies in the tables of fp32; in int8 the {len(lost)} nets "
            f"lose {min(lost):.2f} to {max(lost):.2f} points of val top-1."
        )
    if p := record.predictor:
        said.append(
            f"**Latency predictor**: learnt from {p['n']:g} nets measured here; on nets held out its median error is "
            f"{p['error']:.1%}, 95 % lie within {p['upper']:.0%}, Kendall's tau is {p['tau']:.2f}. It only spares measuring nets "
            "that are clearly over the budget: every latency shown was measured."
        )
    if record.parity:
        said.append(
            f"**Export**: ONNX against torch, largest relative difference of the logits {max(record.parity.values()):.1g}."
        )
    if record.reused or record.latencies_reused:
        of = ", ".join(f"{plain(study)} ({n})" for study, n in sorted(record.reused.items()))
        said.append(
            f"**Ledger**: {sum(record.reused.values())} trainings were not done again: the same net, recipe, data and seed had "
            f"been trained before{', by ' + of if of else ''}; {record.latencies_reused} latencies of the search likewise. What "
            "is measured side by side is measured anew."
        )
    seconds = record.trials["seconds"].sum() + record.runs["seconds"].sum()
    said.append(
        f"**Cost**: {seconds / 60:.1f} minutes of training, summed over workers. Commit {record.commit or 'not recorded'}."
    )
    return [plain_but_strong(text) for text in said]


def plain_but_strong(text: str) -> str:
    """Settings come from outside: no backticks; the ** are ours."""
    return redact(text.replace("`", "'"))


def redact(value: Any) -> str:
    """Text without the password of a database URL."""
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", str(value))


def part(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A group of the settings; one that is a bare name comes as {"name": ...}."""
    value = settings.get(key)
    return dict(value) if isinstance(value, Mapping) else {"name": value} if value else {}


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            out += _flat(value, f"{before}{key}.")
        else:
            out.append((f"{before}{key}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return out
