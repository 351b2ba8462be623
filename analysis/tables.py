"""Rows -> tables with fixed columns and types, and how far a study is. pandas only; records.py knows what is in storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

COLUMNS = (
    "number",
    "state",
    "id",
    "origin",
    "reason",
    "seed",
    "top1_val",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "latency_n",
    "keep_rate",
    "macs_m",
    "params_m",
    "epochs",
    "seconds",
)

RUNS = ("id", "net", "origin", "seed", "state", "reason", "top1_val", "top1_test", "test_n", "keep_rate", "epochs", "seconds")

FINALISTS = (
    "id",
    "net",
    "origin",
    "seeds",
    "top1_val",
    "top1_val_sd",
    "top1_test",
    "top1_test_sd",
    "test_n",
    "keep_rate",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "latency_n",
    "macs_m",
    "params_m",
    "epochs",
)

_TEXT = {"state", "id", "net", "origin", "reason"}

_WHOLE = {"number", "seed", "latency_n", "epochs", "seeds", "test_n"}


def table(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Fixed columns and types, whatever the rows hold: text "" where there is none, whole numbers <NA>, floats NaN."""
    table = pd.DataFrame([{c: row.get(c) for c in columns} for row in rows], columns=list(columns), dtype=object)
    fixed = {*COLUMNS, *RUNS, *FINALISTS}
    for column in columns:
        if column in _TEXT:
            table[column] = [("" if v is None else str(v)) for v in table[column]]
        elif column in _WHOLE:
            table[column] = pd.array([None if pd.isna(v) else int(v) for v in table[column]], dtype="Int64")
        elif column in fixed:
            table[column] = pd.to_numeric(table[column]).astype(float)
    return table


def finalists(runs: pd.DataFrame, latency: Mapping[str, Mapping[str, Any]], trials: pd.DataFrame) -> pd.DataFrame:
    """One row a net of which at least one seed is through: means over its seeds, sd with n - 1 (NaN for one seed)."""
    rows = []
    for net_id, group in runs[runs["state"] == "COMPLETE"].groupby("id", sort=False):
        clock = latency.get(str(net_id), {})
        searched = trials[(trials["id"] == net_id) & trials["macs_m"].notna()]
        first = group.iloc[0]
        keep = clock.get("keep_rate")
        rows.append(
            {
                "id": net_id,
                "net": first["net"],
                "origin": first["origin"],
                "seeds": group["seed"].nunique(),
                "top1_val": group["top1_val"].mean(),
                "top1_val_sd": group["top1_val"].std(),
                "top1_test": group["top1_test"].mean(),
                "top1_test_sd": group["top1_test"].std(),
                "test_n": first["test_n"],
                "keep_rate": keep if keep is not None else group["keep_rate"].mean(),
                "latency_ms": clock.get("latency_ms"),
                "latency_low_ms": clock.get("low_ms"),
                "latency_high_ms": clock.get("high_ms"),
                "latency_n": clock.get("n"),
                "macs_m": searched["macs_m"].iloc[0] if len(searched) else None,
                "params_m": searched["params_m"].iloc[0] if len(searched) else None,
                "epochs": first["epochs"],
            }
        )
    return table(rows, FINALISTS)


def phase(trials: pd.DataFrame, runs: pd.DataFrame, latency: Mapping[str, Any], settings: Mapping[str, Any], ended: str) -> str:
    """How far it got, from what is there: nobody writes "finished" down, so that nobody can forget to."""
    if len(trials) == 0 and not ended:
        return "empty"
    searched = int(((trials["origin"] == "search") & (trials["state"] == "COMPLETE")).sum())
    wanted = settings.get("n_trials")
    running = bool((trials["state"] == "RUNNING").any())
    if not ended and (running or wanted is None or searched < wanted):
        return "searching"
    asked = (settings.get("finalists") or {}).get("seeds", 1)
    if not asked or not (trials["state"] == "COMPLETE").any():
        return "finished"
    return "finished" if latency and not (runs["state"] == "RUNNING").any() else "finalists"
