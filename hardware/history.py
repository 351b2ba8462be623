"""How fast the reference nets ran here before: kept over processes, by machine and setting.

From them a session learns what it cannot see itself: at which pace the machine runs today (`pace`), whether that is slower than
usual (`slower`), and how far one process lies from the next (`bias`), which no number of calls within one process averages out.

One small file under the user's cache folder ($XDG_CACHE_HOME, else ~/.cache), the last 50 sessions of each setting. A file
that cannot be read or written is as none: measuring goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

KEPT = 50
ENOUGH_SESSIONS = 5
BIAS = 0.015  # before there are sessions enough: 1 to 2 % were seen between processes
LEAST_BIAS, MOST_BIAS = 0.01, 0.05
UNSEEN = 0.02  # of its best pace a machine may hide so much from the first session, less from each that follows
SAME_STATE = 1.25  # references slower than that against their best: another state of the machine (a battery, a throttled host)


@dataclass(frozen=True)
class Session:
    """Milliseconds by reference net: the least that a session saw, and its level (hardware/estimate.py)."""

    least: dict[str, float]
    level: dict[str, float]


def history_path() -> Path:
    """Where the sessions are kept."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # nobody's home
        cache = Path(tempfile.gettempdir())
    return cache / "lean-convnet-search" / "references.json"


def sessions(key: str) -> list[Session]:
    """The earlier sessions of a machine and setting, oldest first."""
    return [s for raw in _read().get(key, []) if (s := _session(raw)) is not None]


def _session(raw: object) -> Session | None:
    if not isinstance(raw, dict) or set(raw) != {"least", "level"}:
        return None
    for part in raw.values():
        if not isinstance(part, dict) or not part or not all(isinstance(v, (int, float)) and v > 0 for v in part.values()):
            return None
    return Session(raw["least"], raw["level"]) if set(raw["least"]) == set(raw["level"]) else None


def add(key: str, session: Session) -> None:
    """Keeps a session. Two processes that write at once may lose one of the two."""
    everything = _read()
    everything[key] = [*everything.get(key, []), {"least": session.least, "level": session.level}][-KEPT:]
    path = history_path()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(everything))
        os.replace(part, path)
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


def best(everything: Sequence[Session]) -> dict[str, float]:
    """What each reference takes at this machine's best pace: the least that any session saw, the second least from the fifth
    session on (one glitch of a clock should not stay for ever)."""
    found = {}
    for name in {name for s in everything for name in s.least}:
        values = sorted(s.least[name] for s in everything if name in s.least)
        found[name] = values[1 if len(values) >= ENOUGH_SESSIONS else 0]
    return found


@dataclass(frozen=True)
class Pace:
    """`factor`: what brings a level of this session to the machine's best pace, at most 1; `error`: half of its 95 % interval."""

    factor: float
    error: float


def pace(now: Session, earlier: Sequence[Session]) -> Pace:
    """Median over the references of their best over their level now. A machine that is slower by a quarter is in another state:
    then its own best counts, and the session is told apart as `busy`."""
    for least in (best([*earlier, now]), now.least):
        ratios = [math.log(least[name] / now.level[name]) for name in now.level]
        if median(ratios) >= -math.log(SAME_STATE):
            break
    centre = median(ratios)
    spread = math.sqrt(sum((r - centre) ** 2 for r in ratios) / max(1, len(ratios) - 1))
    error = math.hypot(1.96 * spread / math.sqrt(len(ratios)), UNSEEN / math.sqrt(len(earlier) + 1))
    return Pace(min(1.0, math.exp(centre)), error)


def slower(now: Session, earlier: Sequence[Session]) -> float:
    """By which factor the references' levels lie above those of a quiet session (lower quartile); 1 without history."""
    ratios = []
    for name, ms in now.level.items():
        if known := sorted(s.level[name] for s in earlier if name in s.level):
            ratios.append(ms / known[len(known) // 4])
    return median(ratios) if ratios else 1.0


def bias(earlier: Sequence[Session]) -> float:
    """Half of a 95 % interval of how far one process lies from the next, as a share: 1.96 robust standard deviations (median
    absolute deviation) of a reference's share of its session, so that a machine that was slow as a whole does not count."""
    if len(earlier) < ENOUGH_SESSIONS:
        return BIAS
    spreads = []
    names = set.intersection(*(set(s.level) for s in earlier))
    logs = [{n: math.log(s.level[n]) for n in names} for s in earlier]
    middle = [sum(row.values()) / max(1, len(names)) for row in logs]
    for name in names:
        own = [row[name] - m for row, m in zip(logs, middle, strict=True)]
        centre = median(own)
        spreads.append(1.4826 * median(abs(x - centre) for x in own))
    # the middle is the mean of the references: what is left of each is too small by that much
    correction = math.sqrt(len(names) / (len(names) - 1)) if len(names) > 1 else 1.0
    return min(MOST_BIAS, max(LEAST_BIAS, 1.96 * correction * max(spreads, default=BIAS)))


def _read() -> dict[str, list[Mapping[str, object]]]:
    try:
        found = json.loads(history_path().read_text())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, list)} if isinstance(found, dict) else {}
