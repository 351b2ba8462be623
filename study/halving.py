"""Epochs by Pareto rank: asynchronous successive halving over val top-1 and latency (study/rungs.py says who goes on).

Every net is trained to the first rung by the search's own trial, one row each, so that all that the sampler learns from is of one
length of training. A worker that finds no place for a new net promotes, and waits for nobody: the best 1/eta of those that have
reached a rung by now go on (ASHA, arXiv:1810.05934, section 3.2). ASHA looks at the rungs from the top, since it knows no end;
here the number of nets is known, so new nets go first, then the lower rungs, and fewer are promoted by mistake (of 27 nets three
workers brought 6 to the top of three rungs that way, where 3 are due).

How a promotion is written. Optuna's pruners refuse two objectives and a finished trial cannot be reopened, so promotions are
trials of a study of their own, `<name>.halving`, each naming its row (`of`), rung and seed; analysis/records.py merges them into
the rows, where a halted net reads PRUNED with the rung that it got to.

The learning rate. A cosine to zero cannot be extended, so each rung is a part of the full-length schedule, halted: a rung's
accuracy is of a net that is not annealed yet, and compares with its own rung alone. (A cosine of its own for each rung would rank
better, but going on would begin anew.) So a net that reaches the top is, bit for bit, the one that plain training gives
(tests/trainers/test_supervised.py), and the ledger holds one accuracy for both.

Going on costs the new epochs alone, from `checkpoints/<id>-s<seed>.ckpt`. Where a worker cannot read that (another machine's
folder), it trains from the seed; `epochs_run` counts what was really run, also of trials that were killed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from searchspace.architecture import Architecture
from study.known import known_latency, known_top1, new_latency, new_top1
from study.rungs import Plan, going_on, order, ranks
from study.storing.failure import recorded
from study.storing.given_back import MAX_RETRY
from study.storing.storage import HALVING, is_row, mine, open_study
from study.storing.taking import take
from study.trial import Bench, Candidate

WAIT_S = 0.2
NEAR = 1  # ranks behind the front that get a second seed, too
OPEN = (TrialState.WAITING, TrialState.RUNNING)


@dataclass
class Net:
    """A row and what is known of it. `at`: rung -> (val top-1, cost); `seeds`: other seed -> val top-1 in full."""

    number: int
    attrs: dict[str, Any]
    at: dict[int, tuple[float, float]] = field(default_factory=dict)
    seeds: dict[int, float] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)  # top1_val, latency_ms, ... of the highest rung

    def top1(self, rung: int) -> float:
        """Val top-1 in full, the mean of its seeds."""
        every = [self.at[rung][0], *self.seeds.values()]
        return sum(every) / len(every)


def nets_of(study: optuna.Study, promotions: optuna.Study) -> dict[int, Net]:
    """All nets that reached the first rung, by the number of their row."""
    nets = {}
    for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if is_row(t) and t.values:
            nets[t.number] = Net(t.number, t.user_attrs, {0: (t.values[0], t.values[1])}, latest=dict(t.user_attrs))
    for t in promotions.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if not is_row(t) or (net := nets.get(t.user_attrs["of"])) is None:
            continue
        a = t.user_attrs
        if a["seed"] != net.attrs["seed"]:
            net.seeds[a["seed"]] = a["top1_val"]
        else:
            net.at[a["rung"]] = (a["top1_val"], a["cost"])
            if a["rung"] == max(net.at):
                net.latest |= {k: a[k] for k in ("top1_val", "latency_ms", "keep_rate", "epochs") if k in a}
    return nets


def in_full(study: optuna.Study, promotions: optuna.Study) -> list[tuple[int, float, float]]:
    """(number, val top-1, latency in ms) of the nets at the last rung, the mean of their seeds."""
    nets = nets_of(study, promotions)
    top = max((rung for n in nets.values() for rung in n.at), default=0)
    return [(n.number, n.top1(top), n.latest["latency_ms"]) for n in nets.values() if top in n.at]


class Halving:
    """Promotes nets of one study. `step` does one promotion, if there is one to do now; `run` all that are left."""

    def __init__(self, study: optuna.Study, storage: optuna.storages.BaseStorage, bench: Bench, plan: Plan):
        self.study, self.bench, self.plan = study, bench, plan
        self.promotions = open_study(storage, study.study_name + HALVING, ["maximize"])
        self.job: dict[str, Any] = {}

    def run(self) -> None:
        """Until nothing is left to promote and nobody promotes any more."""
        while True:
            if self.step():
                continue
            if not self._search_goes_on() and not any(
                t.state in OPEN for t in self.promotions.get_trials(deepcopy=False) if is_row(t)
            ):
                return
            time.sleep(WAIT_S)

    def _search_goes_on(self) -> bool:
        """Whether a row is being trained or will be. In a search that has ended early what waited was taken before
        (study/places.py)."""
        states = (TrialState.RUNNING,) if self.study.user_attrs.get("ended") else OPEN
        return any(is_row(t) for t in self.study.get_trials(deepcopy=False, states=states))

    def step(self) -> bool:
        """False where nothing can be done now."""
        self.job = next(self._jobs(), {})
        # waiting is only what a heartbeat gave back
        if not self.job and not any(t.state == TrialState.WAITING for t in self.promotions.get_trials(deepcopy=False)):
            return False
        take(self.promotions, self._objective)
        return True

    def _jobs(self) -> Iterator[dict[str, Any]]:
        """What may be done now and nobody is at, the most urgent first: promotions from the first rung up, then, when all rungs
        are at rest, the sample of halted nets and second seeds."""
        nets = nets_of(self.study, self.promotions)
        taken = self._taken()
        budget = self.bench.settings.max_latency_ms
        refused = {n.number for n in nets.values() if budget is not None and n.latest["latency_ms"] > budget}
        seed = self.bench.settings.seed
        at_rest = not self._search_goes_on()
        rest = {}
        for rung in range(self.plan.top):
            gone = {of for of, to, s in taken if s == seed and to > rung}
            at_rest = at_rest and not any(t.state in OPEN and t.user_attrs.get("rung") == rung for t in self._promoted())
            rest[rung] = going_on({n.number: n.at[rung] for n in nets.values() if rung in n.at}, gone, self.plan.eta, refused,
                                  last=at_rest)  # fmt: skip
            at_rest = at_rest and not rest[rung]
        for rung in range(self.plan.top):
            for number in rest[rung]:
                yield self._job(nets[number], rung + 1, seed, "rung")
        if not at_rest or any(t.state in OPEN for t in self._promoted() if t.user_attrs["why"] == "rung"):
            return
        halted = sorted((n for n in nets if self.plan.top not in nets[n].at or (n, "sample") in self._sampled()),
                        key=lambda n: random.Random(f"{seed}-{n}").random())  # fmt: skip
        for number in halted[: self.plan.sample]:
            if (number, self.plan.top, seed) not in taken:
                yield self._job(nets[number], self.plan.top, seed, "sample")
        for number, other in self._second_seeds(nets):
            if (number, self.plan.top, other) not in taken:
                yield self._job(nets[number], self.plan.top, other, "seed")

    def _second_seeds(self, nets: dict[int, Net]) -> Iterator[tuple[int, int]]:
        """(number, seed) of the nets on and near the front, best first, as far as the saved epochs last."""
        full = [n for n in nets.values() if self.plan.top in n.at]
        accuracy, cost = ([n.at[self.plan.top][i] for n in full] for i in (0, 1))
        rank = ranks(np.asarray(accuracy, float), np.asarray(cost, float))
        near = [full[i].number for i in order(accuracy, cost) if rank[i] <= NEAR]
        saved = len(nets) * self.plan.rungs[-1] - sum(
            self._cost(t.user_attrs)
            for s in (self.study, self.promotions) for t in s.get_trials(deepcopy=False)
            if is_row(t) and t.user_attrs.get("why") != "seed"
        )  # fmt: skip
        first = self.bench.settings.seed
        wanted = [(n, first + k) for k in range(1, self.plan.seeds) for n in near]
        yield from wanted[: max(0, saved // self.plan.rungs[-1])]

    def _cost(self, attrs: dict[str, Any]) -> int:
        """Epochs that a trial ran; of one from the ledger those that it would have run, going on from the rung below."""
        if "reused_from" not in attrs:
            return int(attrs.get("epochs_run", 0))
        rung = attrs.get("rung", 0)
        below = self.plan.rungs[rung - 1] if rung and attrs.get("why") == "rung" else 0
        return int(attrs.get("epochs", 0)) - below

    def _promoted(self) -> list[FrozenTrial]:
        """With a job that is written down whole: `of` comes last."""
        return [t for t in self.promotions.get_trials(deepcopy=False) if is_row(t) and "of" in t.user_attrs]

    def _sampled(self) -> set[tuple[int, str]]:
        return {(t.user_attrs["of"], t.user_attrs["why"]) for t in self._promoted()}

    def _taken(self) -> set[tuple[int, int, int]]:
        """(of, rung, seed) that are done, under way, failed by themselves, or killed three times."""
        found, killed = set(), dict[tuple[int, int, int], int]()
        for t in self._promoted():
            key = _key(t.user_attrs)
            if t.state == TrialState.FAIL and "interrupted" in t.user_attrs:
                continue  # by a Ctrl-C: as if it had not begun
            if t.state == TrialState.FAIL and "killed" in t.user_attrs.get("reason", "killed"):
                killed[key] = killed.get(key, 0) + 1
            else:
                found.add(key)
        return found | {key for key, times in killed.items() if times > MAX_RETRY}

    def _job(self, net: Net, rung: int, seed: int, why: str) -> dict[str, Any]:
        job = {"id": net.attrs["id"], "rung": rung, "seed": seed, "why": why}
        job |= {k: net.attrs[k] for k in ("architecture", "origin", "latency_ms", "macs_m") if k in net.attrs}
        return job | ({"named": net.attrs["net"]} if net.attrs.get("net") else {}) | {"of": net.number}

    def _objective(self, trial: optuna.Trial) -> float:
        trial.set_user_attr("runner", mine())
        if not self._has_it(trial):
            trial.set_user_attr("withdrawn", True)
            raise optuna.TrialPruned
        with recorded(trial):
            return self._train(trial)

    def _has_it(self, trial: optuna.Trial) -> bool:
        """Whether this trial may do its job, which others may have chosen in the same moment: it writes the job down, and later
        that it has begun. Who finds another that has begun, or a lower number after its own beginning, gives up; a queue
        would not do: two workers can take one waiting trial from SQLite."""
        for name, value in {} if "of" in trial.user_attrs else self.job.items():
            trial.set_user_attr(name, value)
        if "of" not in trial.user_attrs:
            return False
        key = _key(trial.user_attrs)

        def others() -> list[FrozenTrial]:
            same = [t for t in self._promoted() if _key(t.user_attrs) == key and t.number != trial.number]
            return [t for t in same if t.state in (TrialState.COMPLETE, TrialState.RUNNING)]

        if any("begun" in t.user_attrs or t.number < trial.number for t in others()):
            return False
        trial.set_user_attr("begun", True)
        return not any(t.number < trial.number for t in others())

    def _train(self, trial: optuna.Trial) -> float:
        attrs, bench, begun = trial.user_attrs, self.bench, time.monotonic()
        rung, seed, report = int(attrs["rung"]), int(attrs["seed"]), trial.set_user_attr
        until = self.plan.rungs[rung]
        known = Architecture.from_dict(attrs["architecture"]) if "architecture" in attrs else None
        candidate = Candidate(known, attrs.get("named", ""))
        recipe = bench.recipe(bench.settings.epochs, seed)

        def on_epoch(epoch: int, top1: float) -> None:
            report("epoch", epoch)
            report("top1_now", top1)

        net = None
        if (top1 := known_top1(candidate, bench, recipe, report, until)) is None:
            net = bench.make(candidate, seed)
            top1 = new_top1(candidate, bench, net, recipe, report, on_epoch, until)
        if candidate.gated:  # it decides anew
            latency = None if net is not None else known_latency(candidate, bench, recipe, report, until)
            latency = latency or new_latency(candidate, bench, net or bench.make(candidate, seed), recipe, until)
            found = {"latency_ms": latency.latency_ms, "latency_low_ms": latency.low_ms, "latency_high_ms": latency.high_ms}
            for key, value in {**found, "latency_n": latency.n, "keep_rate": latency.keep_rate}.items():
                report(key, value)
        macs_only = attrs.get("origin") == "control" and bench.settings.control == "macs"
        cost = trial.user_attrs["macs_m" if macs_only else "latency_ms"]
        for key, value in (("top1_val", top1), ("cost", cost), ("epochs", until), ("seconds", time.monotonic() - begun)):
            report(key, value)
        if until == recipe.epochs and (kept := bench.checkpoint(candidate, seed)) is not None:
            Path(kept).unlink(missing_ok=True)  # nothing goes on from here
        return float(top1)


def _key(attrs: dict[str, Any]) -> tuple[int, int, int]:
    return attrs["of"], attrs["rung"], attrs["seed"]
