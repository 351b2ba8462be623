"""What measure.py measured, over all its output folders: the newest row of each net under each setting.

    clocks = read_clocks(Path("outputs"))        # columns COLUMNS; empty where nothing was measured
    settings(clocks)                             # {"1": "cpu AMD EPYC, onnxruntime, 1 thread, batch 1, fp32", ...}

Two rows are of one setting when all of SETTING agree; `machine` is the fingerprint of hardware, system and libraries. A name
alone does not say at which size a net was measured (measure.py takes resolution=), its mult-adds do: see `of_net`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.records import StudyError
from searchspace.published import canonical

SETTING = ("device", "chip", "machine", "runtime", "threads", "batch", "precision", "options")
NEEDED = (
    "net",
    "latency_ms",
    "low_ms",
    "high_ms",
    "macs_m",
    "runtime",
    "threads",
    "batch",
    "precision",
    "machine",
    "measured_at",
)
COLUMNS = ("net", "macs_m", "latency_ms", "low_ms", "high_ms", "keep_rate", "busy", "measured_at", *SETTING)
ON_CUDA_ONLY = ("cuda_graph",)  # tells the device of a row that is older than the column `device`
SAME_MACS = 1e-3  # as a share; another size differs by more


def read_clocks(outputs: Path) -> pd.DataFrame:
    """Every outputs/*/measure.csv. StudyError, one line, for a file that is another kind of table."""
    tables = [read_table(path, NEEDED) for path in sorted(outputs.glob("*/measure.csv"))]
    tables = [t for t in tables if len(t)]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.concat(tables, ignore_index=True)
    table["net"] = [canonical(name) for name in table["net"]]
    table["_macs"] = table["macs_m"].round(3)
    table = table.sort_values("measured_at", kind="stable").drop_duplicates(["net", "_macs", *SETTING], keep="last")
    return table[list(COLUMNS)].reset_index(drop=True)


def read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A table of measurements with the columns `needed`, `busy` and all of SETTING. StudyError when it is something else."""
    try:
        text = dict.fromkeys(("net", "name", "kind", "measured_at", *SETTING), str)
        table = pd.read_csv(path, dtype={**text, "threads": int, "batch": int})
        if missing := [c for c in needed if c not in table]:
            raise ValueError(f"it has no column {missing[0]}")
        for column in (c for c in needed if c.endswith("_m") or c == "ms" or c.endswith("_ms")):
            table[column] = table[column].astype(float)
        if "latency_ms" in needed and not (table["latency_ms"] > 0).all():
            raise ValueError("it has rows without a latency above 0")
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        why = " ".join(str(error).split())[:150]
        raise StudyError(f"{path} is no table of measurements ({why}); move it away and measure again") from None
    for column in ("device", "chip", "options"):
        table[column] = (table[column] if column in table else pd.Series("", index=table.index)).fillna("")
    guessed = ["cuda" if r in ON_CUDA_ONLY else "cpu" for r in table["runtime"]]
    table["device"] = [d or g for d, g in zip(table["device"], guessed)]
    for column, fill in (("busy", False), ("keep_rate", float("nan"))):
        table[column] = table.get(column, fill)
    table["busy"] = table["busy"].astype(str) == "True"
    return table


def settings(clocks: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """Each setting and what it is called, that with most nets first. Two that would be called alike say their machine."""
    groups = sorted(clocks.groupby(list(SETTING), sort=False), key=lambda g: -g[1]["net"].nunique())
    names = [_name(dict(zip(SETTING, key))) for key, _ in groups]
    return {
        tuple(key): f"{name} ({dict(zip(SETTING, key))['machine']})" if names.count(name) > 1 else name
        for name, (key, _) in zip(names, groups)
    }


def _name(s: dict[str, object]) -> str:
    threads = "1 thread" if str(s["threads"]) == "1" else f"{s['threads']} threads"
    on_gpu = str(s["device"]).startswith("cuda")
    parts = [f"{s['device']} {s['chip']}".strip(), str(s["runtime"]), *([] if on_gpu else [threads]), f"batch {s['batch']}",
             str(s["precision"]), *([str(s["options"])] if s["options"] else [])]  # fmt: skip
    return ", ".join(parts)


def of_setting(clocks: pd.DataFrame, setting: Sequence[object]) -> pd.DataFrame:
    """The rows of one setting."""
    return clocks[(clocks[list(SETTING)].astype(str) == [str(v) for v in setting]).all(axis=1)]


def of_net(clocks: pd.DataFrame, name: str, macs_m: float) -> pd.Series | None:
    """The row of a net of that name and that size, the newest; None where there is none."""
    found = clocks[(clocks["net"] == canonical(name)) & ((clocks["macs_m"] / macs_m - 1).abs() < SAME_MACS)]
    return None if found.empty else found.iloc[-1]
