"""Which nets are worth having: the front of a record, the best under a budget, and both tables as CSV.

Conclusions rest on the finalists once they are through (full recipe, several seeds, latencies measured side by side), and on
the search's own trials before. In both the front is chosen on validation top-1 and latency; test is reported, never chosen by.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.files import write_text
from analysis.pareto import front_mask

if TYPE_CHECKING:
    from analysis.records import Record


def nets(record: Record) -> pd.DataFrame:
    """One row a measured net, the columns of `Record.finalists`, fastest first. On the finalists those with a latency; else
    each complete trial, with empty test columns (an id that was trained twice counts with its last trial)."""
    return _nets(record).copy()


@lru_cache(maxsize=2)  # of ten thousand trials it takes a tenth of a second, and a report asks two dozen times
def _nets(record: Record) -> pd.DataFrame:
    if record.by_finalists:
        table = record.finalists
    else:
        tried = record.trials[(record.trials["state"] == "COMPLETE") & (record.trials["origin"] != "control")]
        done = tried.drop_duplicates("id", keep="last")
        table = done.reindex(columns=record.finalists.columns)
        table["net"] = [record.anchors.get(i, "") for i in done["id"]]
        table["seeds"] = pd.array([1] * len(done), dtype="Int64")
        table["test_n"] = pd.array([None] * len(done), dtype="Int64")
    measured = table[table["latency_ms"].notna() & table["top1_val"].notna()]
    return measured.sort_values(["latency_ms", "id"]).reset_index(drop=True)


def front(record: Record) -> pd.DataFrame:
    """The rows of `nets` that no other dominates, fastest first, anchors included; nets over `max_latency_ms` are not
    candidates."""
    table = within(nets(record), record.settings.get("max_latency_ms"))
    return table[front_mask(table["top1_val"], table["latency_ms"])].reset_index(drop=True)


def within(table: pd.DataFrame, max_latency_ms: float | None) -> pd.DataFrame:
    """The rows at or under a latency budget in ms (None: all)."""
    return table if max_latency_ms is None else table[table["latency_ms"] <= float(max_latency_ms)]


def best_under(record: Record, max_latency_ms: float) -> pd.Series | None:
    """The net of highest validation top-1 at or under a budget in ms, the faster of two equals; None if none fits."""
    table = within(nets(record), max_latency_ms)
    if table.empty:
        return None
    return table.sort_values(["top1_val", "latency_ms"], ascending=[False, True]).iloc[0]


def front_csv(record: Record) -> pd.DataFrame:
    """The columns of trials.csv and top1_test, one row a front net. On the finalists accuracy, latency, epochs and seconds
    are theirs (means over the seeds, which stand in `seed`; seconds: the sum), otherwise the trial's own."""
    columns = [*record.trials.columns[:7], "top1_test", *record.trials.columns[7:]]
    rows = []
    for _, net in front(record).iterrows():
        same = record.trials[record.trials["id"] == net["id"]]
        row = same.iloc[-1].to_dict() if len(same) else {"id": net["id"], "origin": net["origin"]}
        row.update({c: net[c] for c in net.index if c in columns and c != "macs_m" and c != "params_m"})
        if record.by_finalists:
            runs = record.runs[(record.runs["id"] == net["id"]) & (record.runs["state"] == "COMPLETE")]
            row.update(seed=" ".join(str(s) for s in sorted(set(runs["seed"]))), seconds=runs["seconds"].sum(), reason="")
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def write_csv(record: Record, folder: str | Path) -> None:
    """Writes trials.csv and front.csv into `folder`, each whole or not at all."""
    write_text(Path(folder) / "trials.csv", record.trials.to_csv(index=False, lineterminator="\n"))
    write_text(Path(folder) / "front.csv", front_csv(record).to_csv(index=False, lineterminator="\n"))
