"""Neighbours of a net in a space, and the point nearest to a net outside of it. Standard library only.

Two nets are neighbours when they differ in one choice and in the choices that hang on it: those that appear or vanish with
it, in every completion. Stages that appear with another skeleton come as that skeleton's paper has them, and only such stages
vanish: otherwise one edit would have millions of completions. So the relation is symmetric.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from searchspace.architecture import Architecture
from searchspace.edits import distance, edits
from searchspace.skeletons import SKELETONS, Skeleton
from searchspace.space import Choice, Params, SearchSpace


def neighbours(space: SearchSpace, architecture: Architecture) -> list[Architecture]:
    """Distinct, valid points of the space; `NotInSpace` when the net is none itself."""
    params = space.encode(architecture)
    found: dict[Architecture, None] = {}
    for name, value in params.items():
        for other in space.choices(name):
            if other == value:
                continue
            if name == "skeleton":
                found.update(dict.fromkeys(_with_skeleton(space, params, other)))
            else:
                found.update(dict.fromkeys(map(space.decode, _completions(space, {**params, name: other}, {}))))
    found.pop(architecture, None)
    return list(found)


def edited(space: SearchSpace, architecture: Architecture, rng: random.Random) -> Architecture:
    """The net with one choice changed, each choice as likely; what hangs on it is drawn, but no gate is added by the way.
    Gives a neighbour, or the net itself where the drawn choice has no other value that leads to one."""
    params = space.encode(architecture)
    name = rng.choice(list(params))
    others = [c for c in space.choices(name) if c != params[name]]
    if not others:
        return architecture
    value = rng.choice(others)
    if name == "skeleton":
        found = list(_with_skeleton(space, params, value))
        return rng.choice(found) if found else architecture

    def ask(asked: str, choices: tuple[Choice, ...]) -> Choice:
        if asked == name:
            return value
        if params.get(asked) in choices and asked in params:
            return params[asked]
        return "none" if "none" in choices else rng.choice(choices)

    return space.walk(ask)


def _with_skeleton(space: SearchSpace, params: Params, skeleton: str) -> Iterator[Architecture]:
    old, new = SKELETONS[params["skeleton"]], SKELETONS[skeleton]
    if not _is_default(space, params, old, range(len(new.stages), len(old.stages))):
        return  # a stage would vanish that is not as the paper has it: the way back would not lead here
    fresh = _stage_defaults(space, new, range(len(old.stages), len(new.stages)))
    alpha = params.get("alpha", space.alphas[0])
    for same in space.alphas:  # multipliers that are one net in the old skeleton may be two in the new one
        if old.widths(same) == old.widths(alpha):
            yield from map(space.decode, _completions(space, {**params, "skeleton": skeleton, "alpha": same}, fresh))


def _completions(space: SearchSpace, fixed: Params, fresh: Params) -> Iterator[Params]:
    """All ways to answer what `fixed` leaves open (`fresh` answers first), by walking again at each open choice."""
    asked: Params = {}

    def ask(name: str, choices: tuple[Choice, ...]) -> Choice:
        for source in (fixed, fresh):
            if source.get(name) in choices and name in source:
                asked[name] = source[name]
                return asked[name]
        raise _Open(name, choices)

    try:
        space.walk(ask)
    except _Open as at:
        for choice in at.choices:
            yield from _completions(space, {**fixed, at.name: choice}, fresh)
    else:
        yield asked


def _stage_defaults(space: SearchSpace, skeleton: Skeleton, stages: range) -> Params:
    """The paper's own choices for some stages of a skeleton, or the first of the range where the range lacks them."""
    wanted: Params = {}
    for i in stages:
        plan = skeleton.stages[i]
        paper = {
            "family": plan.family,
            "kernel": 3,
            "expansion": plan.expansion,
            "depth": plan.depth,
            "se": False,
            "gate": "none",
        }
        for key, value in paper.items():
            choices = space.choices(key)
            wanted[f"s{i}.{key}"] = value if value in choices else choices[0]
    return wanted


def _is_default(space: SearchSpace, params: Params, skeleton: Skeleton, stages: range) -> bool:
    return all(params.get(name, value) == value for name, value in _stage_defaults(space, skeleton, stages).items())


def nearest(space: SearchSpace, architecture: Architecture) -> tuple[Architecture, list[str]]:
    """The nearest point of the space (local search on `edits.distance` from every skeleton and alpha) and the edits
    that lead from it to `architecture`, in words."""
    best: tuple[int, Architecture] | None = None
    for skeleton, alpha in itertools.product(space.skeletons, space.alphas):
        start = {
            "skeleton": skeleton,
            "alpha": alpha,
            "activation": space.activations[0],
            "resolution": min(space.resolutions, key=lambda r: abs(r - architecture.resolution)),
            **_stage_defaults(space, SKELETONS[skeleton], range(len(SKELETONS[skeleton].stages))),
        }
        here = space.decode(next(_completions(space, start, {})))
        cost = distance(here, architecture)
        improved = True
        while improved:
            improved = False
            params = space.encode(here)
            for name in params:
                if name in ("skeleton", "alpha"):
                    continue
                for other in space.choices(name):
                    there = space.decode(next(_completions(space, {**params, name: other}, {})))
                    if (c := distance(there, architecture)) < cost:
                        here, cost, improved = there, c, True
                        params = space.encode(here)
                        break
                if improved:
                    break
        if best is None or cost < best[0]:
            best = (cost, here)
    assert best is not None
    return best[1], edits(best[1], architecture)


class _Open(Exception):
    def __init__(self, name: str, choices: tuple[Choice, ...]):
        super().__init__(name)
        self.name, self.choices = name, choices
