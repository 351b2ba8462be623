"""Nets to choose among: neighbours of the front, crossings of its members, random ones, then the best ones' neighbours.

Parameter sets as codes (study/surrogate/codes.py). What was seen before is never proposed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from study.surrogate.codes import ABSENT, Codes, Learned

NEIGHBOURS, CROSSED, DRAWN = 600, 300, 400
TAKEN = 0.3  # a gene comes from the other parent
MUTATED = 1.5  # genes of a crossing, on average
ROUNDS, BEST = 2, 12  # of local search from the best

Floats = NDArray[np.float64]
Score = Callable[[Codes], Floats]


def edits(codes: Codes, space: Learned, rng: np.random.Generator, most: int | None = None) -> Codes:
    """Those rows with one choice changed, and what hangs on it repaired; at most so many, drawn."""
    rows, columns, levels = [], [], []
    for i, choices in enumerate(space.choices):
        there = np.flatnonzero(codes[:, i] != ABSENT)
        for k in range(len(choices)):
            at = there[codes[there, i] != k]
            rows.append(at)
            columns.append(np.full(len(at), i))
            levels.append(np.full(len(at), k))
    if not rows:
        return codes[:0]
    row, column, level = np.concatenate(rows), np.concatenate(columns), np.concatenate(levels)
    if most is not None and len(row) > most:
        chosen = rng.choice(len(row), most, replace=False)
        row, column, level = row[chosen], column[chosen], level[chosen]
    made = codes[row]
    made[np.arange(len(made)), column] = level
    return space.repair(made, rng)


def crossed(parents: Codes, n: int, space: Learned, rng: np.random.Generator) -> Codes:
    """(n, d): genes of one parent, some of another's, some drawn."""
    if not len(parents):
        return parents
    one, other = parents[rng.integers(len(parents), size=n)], parents[rng.integers(len(parents), size=n)]
    made = np.where(rng.random(one.shape) < TAKEN, other, one)
    drawn = np.stack([rng.integers(len(choices), size=n) for choices in space.choices], 1)
    made = np.where((rng.random(made.shape) < MUTATED / space.d) & (made != ABSENT), drawn, made)
    return space.repair(made.astype(np.int16), rng)


class Unseen:
    """Rows of a batch that are new, each once."""

    def __init__(self, seen: set[bytes]):
        self._seen = set(seen)

    def of(self, codes: Codes) -> Codes:
        keep = []
        for i, row in enumerate(codes):
            key = row.tobytes()
            if key not in self._seen:
                self._seen.add(key)
                keep.append(i)
        return codes[keep]


def best_unseen(
    front: Codes, seen: set[bytes], space: Learned, score: Score, rng: np.random.Generator, share: float = 1.0
) -> Codes | None:
    """(d,): the row of the greatest score, -inf ruling one out; None where nothing is left. Ties at random. `share`: of the
    candidates that are looked at otherwise."""
    new = Unseen(seen)
    neighbours, cross, draw = (max(1, round(n * space.effort * share)) for n in (NEIGHBOURS, CROSSED, DRAWN))
    start = [edits(front, space, rng, neighbours), crossed(front, cross, space, rng), space.drawn(draw, rng)]
    codes = new.of(np.concatenate(start))
    scores = score(codes)
    for _ in range(ROUNDS):
        if not np.isfinite(scores).any():
            break
        top = np.argsort(-scores, kind="stable")[:BEST]
        more = new.of(edits(codes[top], space, rng, neighbours))
        codes, scores = np.concatenate([codes, more]), np.concatenate([scores, score(more)])
    if not np.isfinite(scores).any():
        return None
    ties = np.flatnonzero(scores == scores.max())
    return codes[ties[int(rng.integers(len(ties)))]]
