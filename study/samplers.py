"""Name -> Optuna sampler, made when it is chosen. All work on any study with categorical parameters and two objectives.

pareto_gp   our own (study/pareto_gp.py), the only one that uses what is known of a net before training
tpe     multivariate: Optuna's default for two objectives is independent and needs 1.4-2x the evaluations; of a large study it
        is shown a part (study/tpe.py)
nsga2   population 20: with the default of 50 the first 50 trials are random
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import optuna

Known = Callable[[list[dict[str, Any]]], "np.ndarray"]


def _pareto_gp(seed: int, known: Known | None) -> optuna.samplers.BaseSampler:
    from study.pareto_gp import ParetoGP

    return ParetoGP(seed, known)


def _tpe(seed: int, known: Known | None) -> optuna.samplers.BaseSampler:
    from study.tpe import BoundedTPE

    # group: conditional choices are modelled together with those that they always come with
    return BoundedTPE(seed=seed, multivariate=True, group=True, constant_liar=True)


def _nsga2(seed: int, known: Known | None) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)


def _gp(seed: int, known: Known | None) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.GPSampler(seed=seed)


def _random(seed: int, known: Known | None) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, Known | None], optuna.samplers.BaseSampler]] = {
    "pareto_gp": _pareto_gp,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "gp": _gp,
    "random": _random,
}


def make(name: str, seed: int = 0, known: Known | None = None) -> optuna.samplers.BaseSampler:
    """The sampler of that name. `known(list of params) -> (n, m)` tells what is cheap to know of a candidate before
    training (column 0 the second objective); samplers that cannot use it ignore it. KeyError for an unknown name."""
    import warnings

    if name not in SAMPLERS:
        raise KeyError(f"no sampler {name!r}: there are {', '.join(SAMPLERS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # multivariate and group are marked experimental
        return SAMPLERS[name](seed, known)
