"""What `measure.py nets=pieces` measured, over all output folders: the newest row of each piece under each setting."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.clocks import SETTING, read_table

RUN = "python measure.py nets=pieces"
OF_SETTING = ("runtime", "threads", "batch", "precision", "machine", "measured_at")
NEEDED = ("kind", "name", "stride", "macs_m", "ms", "low_ms", "high_ms", "ns_per_element", "low_ns", "high_ns", *OF_SETTING)


def read_pieces(outputs: Path) -> pd.DataFrame:
    """Every outputs/*/pieces.csv; `net` is the piece's name. StudyError, one line, for a file that is another kind of table."""
    tables = [t for path in sorted(outputs.glob("*/pieces.csv")) if len(t := read_table(path, NEEDED))]
    if not tables:
        return pd.DataFrame(columns=[*NEEDED, *SETTING, "net", "busy"]).loc[:, lambda t: ~t.columns.duplicated()]
    table = pd.concat(tables, ignore_index=True).assign(net=lambda t: t["name"])
    table = table.sort_values("measured_at", kind="stable")
    return table.drop_duplicates(["kind", "name", "stride", "macs_m", *SETTING], keep="last").reset_index(drop=True)
