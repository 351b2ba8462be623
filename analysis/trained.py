"""The nets that were trained here, by their cards: means over seeds of what was tested.

    read_trained(Path("outputs"))    # a row a net, data set and recipe: net, data, resolution, ..., top1_test, sd, seeds, epochs

Every training leaves outputs/NAME/nets/ID/card.json (searchspace/card.py). Left out are a search's own finds, which carry no
name (they stand in the study's report), and the controls of gated nets (figure=skipnet shows them beside their nets).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.records import StudyError
from searchspace.published import canonical

GROUP = (
    "net",
    "data",
    "resolution",
    "fraction",
    "stage",
    "skip_alpha",
    "epochs",
    "recipe",
)  # equal in all: seeds of one training
CONTROLS = ("static", "random")  # values of `stage`
REWARDED = ("supervised", "hrl")  # the stages on which skip_alpha acts
COLUMNS = (*GROUP, "seeds", "top1_test", "sd", "test_n", "keep_rate", "macs_m", "params_m")


def read_trained(outputs: Path) -> pd.DataFrame:
    """Rows of COLUMNS, in the order of nets and data sets; top-1 in percent, sd with n - 1 (NaN for one seed). Of two cards of
    the same training and seed the newer counts. StudyError names a card that cannot be read."""
    rows = [row for path in sorted(outputs.glob("*/nets/*/card.json"), key=_written) if (row := _row(path)) is not None]
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.DataFrame(rows).drop_duplicates([*GROUP, "seed"], keep="last")
    found = []
    for key, group in table.groupby(list(GROUP), sort=False, dropna=False):
        first = group.iloc[0]
        found.append({
            **dict(zip(GROUP, key)), "seeds": len(group), "top1_test": group["top1_test"].mean(), "sd": group["top1_test"].std(),
            "test_n": first["test_n"], "keep_rate": group["keep_rate"].mean(), "macs_m": first["macs_m"],
            "params_m": first["params_m"],
        })  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS)).sort_values(["data", "net", "stage"], kind="stable", ignore_index=True)


def _written(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, str(path)


def _row(path: Path) -> dict[str, Any] | None:
    try:
        card = json.loads(path.read_text())
        stage = card.get("stage") or ""
        if not card["net"] or card.get("top1_test") is None or stage in CONTROLS:
            return None
        data, recipe = card["data"], card["recipe"]
        return {
            "net": canonical(card["net"]) if ":" not in card["net"] else card["net"],
            "data": data["name"],
            "resolution": data["resolution"],
            "fraction": data.get("fraction", 1.0),
            "stage": stage,
            "skip_alpha": _number(card.get("skip_alpha") if stage in REWARDED else None),
            "epochs": recipe["epochs"],
            "recipe": json.dumps({k: v for k, v in recipe.items() if k not in ("threads", "precision")}, sort_keys=True),
            "seed": card["seed"],
            "top1_test": float(card["top1_test"]),
            "test_n": card.get("test_images", 0),
            "keep_rate": _number(card.get("keep_rate", (card.get("latency") or {}).get("keep_rate"))),
            "macs_m": float(card["macs_m"]),
            "params_m": card["params_m"],
        }
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        raise StudyError(f"{path} is no card of a trained net ({why}); move it away") from None


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
