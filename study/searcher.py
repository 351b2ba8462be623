"""Takes trials of one study until it is complete: proposes, measures, trains, writes down. Many processes may do so at once.

Proposals come from the sampler. One that does not look there by itself (tpe, nsga2, gp) makes every second one an edit of a net
on the front so far (one choice changed): in a space of mostly poor nets the neighbourhood of good ones is where improvements
are, and it needs no model.

How many nets are asked for, and who of several workers has a net: study/places.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import front_mask
from hardware.predictor import LEAST, LatencyPredictor
from searchspace.architecture import Architecture
from searchspace.neighbourhood import edited
from searchspace.space import NotInSpace
from study.forecast import Forecast
from study.places import BEGUN, Places
from study.samplers import make
from study.storing.failure import recorded
from study.storing.storage import is_row, mine, note
from study.storing.taking import take
from study.tracking import Tracker
from study.trial import Bench, Candidate, OverBudget, run_trial

REPEATS_BEFORE_RANDOM = 10  # proposals in a row that brought nothing new: then draw at random until one does
REPEATS_BEFORE_END = 200
EDITED = 0.5  # share of proposals that are edits of front nets
EDIT_TRIES = 30
MOST_FITTED = 300  # nets of a study that goes on, the newest, that the predictor learns from: of ten thousand it takes long


class Searcher:
    """Takes trials of one study: the search itself (`origin` search) or its control."""

    def __init__(
        self, study: optuna.Study, bench: Bench, sampler: str, index: int, origin: str, tracking: Tracker, edits: bool = False
    ):
        self.study, self.bench, self.origin, self.tracking, self.edits = study, bench, origin, tracking, edits
        # two workers with one seed would propose the same nets, and so would a study that goes on with the seed it began with
        over = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        seed = (bench.settings.seed * 1000 + index + 104_729 * over) % 2**32
        self.rng = random.Random(seed)
        self.macs_only = origin == "control" and bench.settings.control == "macs"
        self.meanwhile: Callable[[], bool] = lambda: False  # something to do where every place is taken; False: nothing
        self.uses_known = sampler == "pareto_gp"
        # where neither the sampler nor a budget asks the predictor, one worker fits it, for the report
        self.fits = self.uses_known or bench.settings.max_latency_ms is not None or index == 0
        self.known = Forecast(bench.space, bench.settings.max_latency_ms, self.macs_only)
        self.sampler, self.random = make(sampler, seed, self.known), make("random", seed)
        self.places = Places(study, origin, bench.settings.n_trials)
        self.repeats = 0
        self.learnt_of = 0  # static nets that the predictor knows
        self.measured: dict[int, tuple[Architecture, float] | None] = {}  # finished trial -> static net and ms, if it tells any

    def run(self) -> None:
        """Until the asked number of nets is trained, the space is used up, or nothing new comes."""
        while (trials := self.places.wait(lambda: self.meanwhile())) is not None:
            self.study.sampler = self.random if self.repeats >= REPEATS_BEFORE_RANDOM else self.sampler
            self._learn(trials)
            if self.edits and not self.places.ended and self.rng.random() < EDITED:
                self._queue_edit()
            take(self.study, self._objective)

    def _queue_edit(self) -> None:
        """Puts a neighbour of a front net that nobody has tried first in line, where there is one."""
        rows = [t for t in self.places.trials() if is_row(t)]
        if any(t.state == TrialState.WAITING for t in rows):
            return
        known = [*rows, *(t for t in self.places.trials() if "copied" in t.user_attrs)]
        done = [t for t in known if t.state == TrialState.COMPLETE and "architecture" in t.user_attrs and t.params]
        if (budget := self.bench.settings.max_latency_ms) is not None:
            done = [t for t in done if t.user_attrs["latency_ms"] <= budget]
        on_front = front_mask([t.values[0] for t in done], [t.values[1] for t in done])
        parents = [t for t, on in zip(done, on_front) if on]
        tried = {t.user_attrs.get("id") for t in known}
        for _ in range(EDIT_TRIES if parents else 0):
            parent = self.rng.choice(parents)
            net = edited(self.bench.space, Architecture.from_dict(parent.user_attrs["architecture"]), self.rng)
            if net.id not in tried and not self._clearly_over(net):
                attrs = {"origin": self.origin, "architecture": net.to_dict(), "edit_of": parent.user_attrs["id"]}
                self.study.enqueue_trial(self.bench.space.encode(net), user_attrs=attrs)
                return

    def _clearly_over(self, net: Architecture) -> bool:
        budget, predictor = self.bench.settings.max_latency_ms, self.bench.predictor
        return budget is not None and predictor is not None and not net.gates and predictor.clearly_over(net, budget)

    def _objective(self, trial: optuna.Trial) -> tuple[float, float]:
        """Records whatever goes wrong with its reason, and goes on."""
        note(trial, {"runner": mine(), "origin": trial.user_attrs.get("origin", self.origin)})
        with recorded(trial, lambda why: self._count_repeat("could not be trained; the last one: " + why)):
            return self._try(trial)

    def _try(self, trial: optuna.Trial) -> tuple[float, float]:
        attrs = trial.user_attrs
        if attrs["origin"] == self.origin and not self.places.free_for(trial.number):
            trial.set_user_attr("withdrawn", True)
            raise optuna.TrialPruned
        candidate = self._candidate(trial, attrs.get("net", ""))
        net = {"architecture": candidate.architecture.to_dict()} if candidate.architecture is not None else {}
        note(trial, {"id": candidate.id, **net})
        # two workers may have drawn the same net at one time: the one that has begun keeps it, else the lower number
        seen, choosing = self.places.seen(candidate.id, trial.number)
        if seen is None and choosing:  # they may come to the same net, and will see that it is taken
            note(trial, {BEGUN: dict(trial.params)})
            seen, _ = self.places.seen(candidate.id, trial.number)
        return self._measure(trial, candidate) if seen is None else self._answer(trial, seen)

    def _candidate(self, trial: optuna.Trial, net: str) -> Candidate:
        if not net:
            return Candidate(self.bench.space.suggest(trial))
        candidate = self.bench.candidate(net)
        if candidate.architecture is not None and candidate.architecture in self.bench.space:
            suggested = self.bench.space.suggest(trial)  # queued with its parameters, so that the sampler learns of it
            assert suggested == candidate.architecture
        return candidate

    def _answer(self, trial: optuna.Trial, seen: FrozenTrial) -> tuple[float, float]:
        trial.set_user_attr("duplicate_of", seen.number)
        self._count_repeat("brought no new net")
        for name, over in seen.constraints.items():  # or the sampler takes it for a net within the budget
            trial.set_constraint(name, over)
        distinct = len({t.user_attrs.get("id") for t in self.places.trials() if t.user_attrs.get("id")})
        if distinct >= self._space_size and self._all_known():
            self.study.set_user_attr("ended", f"the space is used up: it holds {self._space_size} nets")
        if seen.state == TrialState.COMPLETE and seen.values:
            return seen.values[0], seen.values[1]
        raise optuna.TrialPruned

    def _count_repeat(self, what: str) -> None:
        self.repeats += 1
        if self.repeats >= REPEATS_BEFORE_END:
            self.study.set_user_attr("ended", f"{REPEATS_BEFORE_END} proposals in a row {what}")

    def _all_known(self) -> bool:
        """Whether every net of a (small) space has been tried; anchors outside of it do not count."""
        inside: set[str] = set()
        for t in self.places.trials():
            if "architecture" in t.user_attrs and t.user_attrs.get("id", "") not in ("", *inside):
                try:
                    self.bench.space.encode(Architecture.from_dict(t.user_attrs["architecture"]))
                    inside.add(t.user_attrs["id"])
                except NotInSpace:
                    pass
        return len(inside) >= self._space_size

    @cached_property
    def _space_size(self) -> int:
        """Counting takes a fifth of a second."""
        return self.bench.space.size()

    def _measure(self, trial: optuna.Trial, candidate: Candidate) -> tuple[float, float]:
        settings = self.bench.settings
        seed = settings.seed
        run = self.tracking.trial(trial.number, candidate, trial.user_attrs["origin"])
        told: dict[str, Any] = {"seed": seed, BEGUN: dict(trial.params)}  # and what comes until the next thing begins

        def report(key: str, value: Any) -> None:
            told[key] = value
            if key == "doing":
                note(trial, told)
                told.clear()

        def on_epoch(epoch: int, top1: float) -> None:
            note(trial, {**told, "epoch": epoch, "top1_now": top1})
            told.clear()
            run.log({"epoch": epoch, "top1_val": top1})

        try:
            found = run_trial(candidate, self.bench, seed, report, on_epoch)
        except OverBudget as over:
            note(trial, {**told, "reason": str(over)})
            self._constrain(trial, over.ms)
            run.end({"reason": str(over)})
            self._count_repeat("brought no new net within the budget; a larger max_latency_ms may help")
            raise optuna.TrialPruned from None
        except Exception as error:
            note(trial, told)
            run.end({"reason": f"{type(error).__name__}: {error}"[:500]})
            raise
        note(trial, {**told, **found.to_dict()})
        self._constrain(trial, found.latency_ms)
        run.end(found.to_dict())
        self.repeats = 0
        return found.top1_val, (found.macs_m if self.macs_only else found.latency_ms)

    def _learn(self, trials: list[FrozenTrial]) -> None:
        """The predictor of latencies, from the static nets (and ungated twins) that this study has measured, again with each of
        the first fifty, then with each tenth more; what it is worth is told to the study, what it predicts to the sampler."""
        if self.fits:
            self._fit_predictor(trials)
        if self.uses_known:
            self.known.learn(trials, self.bench.predictor)

    def _fit_predictor(self, trials: list[FrozenTrial]) -> None:
        new = [t for t in trials if t.state.is_finished() and t.number not in self.measured]
        self.measured |= dict.fromkeys(t.number for t in new[:-MOST_FITTED])
        for t in new[-MOST_FITTED:]:
            self.measured[t.number] = None
            if is_row(t) and "architecture" in t.user_attrs:
                net = Architecture.from_dict(t.user_attrs["architecture"])
                if ms := t.user_attrs.get("dense_ms" if net.gates else "latency_ms"):
                    self.measured[t.number] = net.without_gates(), ms
        static = [m for m in self.measured.values() if m is not None]
        more = len(static) > self.learnt_of * (1.1 if self.learnt_of > 50 else 1)  # a fit of thousands takes seconds
        if not more or len({net for net, _ in static}) < LEAST:
            return
        self.learnt_of = len(static)
        try:
            self.bench.predictor = p = LatencyPredictor.fit(static)
        except Exception:  # a plug-in's block, or a fit that does not converge: the search goes on without
            self.bench.predictor = None
            return
        self.study.set_user_attr("predictor", {"n": p.n, "error": p.error, "upper": p.upper, "tau": p.tau})

    def _constrain(self, trial: optuna.Trial, latency_ms: float) -> None:
        if (budget := self.bench.settings.max_latency_ms) is not None:
            trial.set_constraint("latency_ms", latency_ms / budget - 1)  # <= 0: feasible; as a share, whatever the unit
