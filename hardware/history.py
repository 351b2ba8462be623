"""How fast the reference nets ran here before: a session's minima, kept over processes, by machine and setting.

From them a session learns what it cannot see itself: whether the machine is slow today (`usual`), and how far one process
lies from the next (`bias`), which no number of calls within one process averages out.

One small file under the user's cache folder ($XDG_CACHE_HOME, else ~/.cache), the last 50 sessions of each setting. A file
that cannot be read or written is as none: measuring goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median

KEPT = 50
ENOUGH_SESSIONS = 5
BIAS = 0.015  # before there are sessions enough: 1 to 3 % were seen between processes (32 nets, 4-6 processes)
LEAST_BIAS, MOST_BIAS = 0.005, 0.05
MOST_SLOWDOWN = 2.0
Session = dict[str, float]  # reference -> milliseconds


def history_path() -> Path:
    """Where the sessions are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lean-convnet-search" / "references.json"


def sessions(key: str) -> list[Session]:
    """The earlier sessions of a machine and setting, oldest first."""
    found = _read().get(key, [])
    return [s for s in found if isinstance(s, dict) and s and all(isinstance(v, (int, float)) and v > 0 for v in s.values())]


def add(key: str, minima: Mapping[str, float]) -> None:
    """Keeps a session. Two processes that write at once may lose one of the two."""
    everything = _read()
    everything[key] = [*everything.get(key, []), dict(minima)][-KEPT:]
    path = history_path()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(everything))
        os.replace(part, path)
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


def usual(earlier: list[Session]) -> Session:
    """What a quiet session takes: of each reference the lower quartile of the sessions' minima (the least would be one lucky
    session's)."""
    found = {}
    for name in {name for s in earlier for name in s}:
        values = sorted(s[name] for s in earlier if name in s)
        found[name] = values[len(values) // 4]
    return found


def slowdown(minima: Mapping[str, float], earlier: list[Session]) -> float:
    """How much slower than they ever ran here the references are in this session, at least 1: a clock or a neighbour that a
    whole session cannot get rid of. By so much may the long-run value of a net lie below what was measured."""
    ratios = []
    for name, ms in minima.items():
        known = [s[name] for s in earlier if name in s]
        ratios.append(ms / min([ms, *known]))
    return min(MOST_SLOWDOWN, median(ratios)) if ratios else 1.0


def bias(earlier: list[Session]) -> float:
    """Half of a 95 % interval of how far one process lies from the next, as a share: 1.96 robust standard deviations (median
    absolute deviation) of a reference's share of its session, so that a machine that was slow as a whole does not count."""
    if len(earlier) < ENOUGH_SESSIONS:
        return BIAS
    spreads = []
    names = set.intersection(*(set(s) for s in earlier))
    logs = [{n: math.log(s[n]) for n in names} for s in earlier]
    level = [sum(row.values()) / max(1, len(names)) for row in logs]
    for name in names:
        own = [row[name] - m for row, m in zip(logs, level, strict=True)]
        centre = median(own)
        spreads.append(1.4826 * median(abs(x - centre) for x in own))
    # the level is the mean of the references: what is left of each is too small by that much
    correction = math.sqrt(len(names) / (len(names) - 1)) if len(names) > 1 else 1.0
    return min(MOST_BIAS, max(LEAST_BIAS, 1.96 * correction * max(spreads, default=BIAS)))


def _read() -> dict[str, list[Session]]:
    try:
        found = json.loads(history_path().read_text())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, list)} if isinstance(found, dict) else {}
