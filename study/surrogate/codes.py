"""Parameter sets as rows of small integers, and which choices are asked when.

    space = Learned(); space.see(params, choices)      # what the trials so far have shown
    space = Walked(walk)                               # a space that can be asked: walk(ask) asks each choice in turn
    codes = space.repair(codes, rng)                   # (n, d): what is not asked becomes ABSENT, what is missing is drawn
    space.params(codes), space.code(params)

A study is defined by running: whether `s1.expansion` is asked may hang on `s1.family`, and nobody says so beforehand. `Learned`
finds for each choice that is sometimes absent one earlier choice, or two, whose values tell; where it cannot know, it takes the
choice as asked: a superfluous one does no harm, a missing one is drawn by Optuna.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
Params = dict[str, Any]
Ask = Callable[[str, tuple[Any, ...]], Any]

ABSENT = -1
MOST = 30_000  # nets remembered that are candidates only


class Learned:
    """The space that trials have shown: names in the order in which they appeared, the choices of each. `effort`: how many
    candidates are worth looking at, in terms of study/surrogate/candidates.py."""

    effort = 1.0

    def __init__(self) -> None:
        self.names: list[str] = []
        self.choices: list[tuple[Any, ...]] = []
        self._at: dict[str, int] = {}
        self._level: list[dict[tuple[type, Any], int]] = []
        self._seen: list[Params] = []
        self._rules: list[tuple[tuple[int, ...], dict[tuple[int, ...], bool]] | None] = []  # None: always asked
        self._order: list[int] = []
        self._stale = False
        self._learnt = 0  # times that the rules were learnt

    def see(self, params: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> None:
        """A complete parameter set and the range of each of its choices."""
        for name in params:
            self.add(name, tuple(choices[name]))
        self._seen.append(dict(params))
        row = self.code(params)[None]
        self._stale = self._stale or not np.array_equal(self.repair(row.copy(), np.random.default_rng(0)), row)

    def add(self, name: str, choices: tuple[Any, ...]) -> None:
        if name in self._at:
            return
        self._at[name] = len(self.names)
        self.names.append(name)
        self.choices.append(choices)
        self._level.append({(type(c), c): k for k, c in enumerate(choices)})
        self._rules.append(None)
        self._order.append(len(self._order))
        self._stale = bool(self._seen)  # the sets before did not have it

    def __contains__(self, name: str) -> bool:
        return name in self._at

    @property
    def d(self) -> int:
        return len(self.names)

    def form(self) -> tuple[int, int]:
        """Another one: rows drawn before are no longer what would be drawn."""
        if self._stale:
            self._learn()
        return self.d, self._learnt

    def code(self, params: Mapping[str, Any]) -> Codes:
        """(d,); foreign names and values are left out."""
        row = [ABSENT] * self.d
        for name, value in params.items():
            if (at := self._at.get(name)) is not None:
                row[at] = self._level[at].get((type(value), value), ABSENT)
        return np.array(row, dtype=np.int16)

    plain = code  # without a walk, in a space that has one

    def params(self, codes: Codes) -> list[Params]:
        names, choices = self.names, self.choices
        return [{names[i]: choices[i][k] for i, k in enumerate(row) if k >= 0} for row in codes.tolist()]

    def drawn(self, n: int, rng: np.random.Generator) -> Codes:
        """(n, d): each choice uniform."""
        return self.repair(np.full((n, self.d), ABSENT, dtype=np.int16), rng)

    def repair(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """In place: valid sets, as near as can be."""
        if self._stale:
            self._learn()
        for i in self._order:
            rule = self._rules[i]
            if rule is not None:
                parents, table = rule
                levels, inverse = np.unique(codes[:, parents], axis=0, return_inverse=True)
                asked = np.array([table.get(tuple(level), True) for level in levels.tolist()])[inverse.reshape(-1)]
                codes[~asked, i] = ABSENT
                missing = asked & (codes[:, i] == ABSENT)
            else:
                missing = codes[:, i] == ABSENT
            if count := int(missing.sum()):
                codes[missing, i] = rng.integers(0, len(self.choices[i]), count)
        return codes

    def _learn(self) -> None:
        """A rule for each choice, from all sets seen."""
        self._stale = False
        self._learnt += 1
        rows = np.array([self.code(p) for p in self._seen])
        there = rows != ABSENT
        self._rules = [None] * self.d
        known = [i for i in range(self.d) if there[:, i].all()]
        open_ = [i for i in range(self.d) if not there[:, i].all()]
        while open_:
            found = [(i, rule) for i in open_ if (rule := _rule(rows, there[:, i], known)) is not None]
            if not found:
                break  # no one or two choices tell: taken as asked
            for i, rule in found:
                self._rules[i] = rule
                open_.remove(i)
                known.append(i)
        self._order = known + open_


def _rule(rows: Codes, asked: NDArray[np.bool_], known: list[int]) -> tuple[tuple[int, ...], dict[tuple[int, ...], bool]] | None:
    """The one or two choices, with the fewest values seen, whose values tell whether it is asked; None where none do."""
    for size in (1, 2):
        best = None
        for parents in itertools.combinations(known, size):
            table = _table(rows, asked, parents)
            if table is not None and (best is None or len(table) < len(best[1])):
                best = (parents, table)
        if best is not None:
            return best
    return None


def _table(rows: Codes, asked: NDArray[np.bool_], parents: tuple[int, ...]) -> dict[tuple[int, ...], bool] | None:
    table: dict[tuple[int, ...], bool] = {}
    for level, there in zip(map(tuple, rows[:, parents].tolist()), asked.tolist()):
        if table.setdefault(level, there) != there:
            return None
    return table


class Walked(Learned):
    """A space that says itself which choices it asks, by walking through them: walk(ask) -> what they make, hashable. Parameter
    sets that make the same are one net: the first one met stands for all. A walk takes some 0.1 ms, hence less effort."""

    effort = 0.4

    def __init__(self, walk: Callable[[Ask], Hashable]):
        super().__init__()
        self._walk = walk
        self._first: dict[Hashable, Params] = {}
        self._of_trials: set[Hashable] = set()
        self._row: dict[bytes, Codes] = {}  # what repairing a row gave, where nothing was drawn
        self._made: dict[
            tuple[tuple[str, Any], ...], Mapping[str, Any]
        ] = {}  # parameters of a trial -> those that stand for its net

    def see(self, params: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> None:
        for name in params:
            self.add(name, tuple(choices[name]))
        self.code(params)

    def add(self, name: str, choices: tuple[Any, ...]) -> None:
        if name not in self._at:
            self._row.clear()  # rows grow wider
        super().add(name, choices)

    def code(self, params: Mapping[str, Any]) -> Codes:
        key = tuple(params.items())
        if (found := self._made.get(key)) is None:
            made, drawn = self._answered(params, None)
            found = self._made[key] = made if not drawn else dict(params)
        return super().code(found)

    def repair(self, codes: Codes, rng: np.random.Generator) -> Codes:
        made = []
        for key, params in zip([row.tobytes() for row in codes], self.params(codes)):
            row = self._row.get(key)
            if row is None:
                answered, drawn = self._answered(params, rng)
                row = super().code(answered)
                if not drawn and len(row) * row.itemsize == len(key):
                    self._row[key] = row
            made.append(row)
        wide = np.full((len(made), self.d), ABSENT, dtype=np.int16)
        for k, row in enumerate(made):  # the first may be narrower than the last
            wide[k, : len(row)] = row
        return wide

    def _answered(self, wanted: Mapping[str, Any], rng: np.random.Generator | None) -> tuple[Params, bool]:
        """The parameters that are asked, and whether one had to be drawn (the first of its choices without `rng`)."""
        asked: Params = {}
        drawn = False

        def ask(name: str, choices: tuple[Any, ...]) -> Any:
            nonlocal drawn
            self.add(name, choices)
            if name in wanted and wanted[name] in choices:
                asked[name] = wanted[name]
            else:
                drawn = True
                asked[name] = choices[0 if rng is None else int(rng.integers(len(choices)))]
            return asked[name]

        net = self._walk(ask)
        if net in self._first:
            return self._first[net], drawn
        if len(self._first) >= MOST and rng is not None:  # a candidate of long ago is forgotten, what a trial made is not
            self._first = {made: first for made, first in self._first.items() if made in self._of_trials}
            self._row.clear()
        if rng is None:
            self._of_trials.add(net)
        self._first[net] = asked
        return asked, drawn
