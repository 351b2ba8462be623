"""How many nets of a study are still to be searched, and which of several workers trains a net, by what stands in the storage.

The number of nets is exact with any number of workers: a worker asks for a trial, then takes a place by trial number among those
that are done or open; whoever has no place withdraws and looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.storing.storage import is_row

WAIT_S = 0.2
BEGUN = "choices"  # what a trial says of itself when it begins to measure and train


class Places:
    """Of one study. `origin`: whose nets count (search, control)."""

    def __init__(self, study: optuna.Study, origin: str, wanted: int):
        self.study, self.origin, self.wanted = study, origin, wanted
        self.ended = False  # early
        self._over: set[int] = set()  # numbers of trials that are
        self._done = 0  # of those, searched nets

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def wait(self, meanwhile: Callable[[], bool]) -> list[FrozenTrial] | None:
        """All trials, once there is a place for one more; None when the study is complete. In a search that has ended early what
        waits (a net given back) still has its place, and what runs is waited for: its net may belong to the finalists.
        `meanwhile`: something to do where every place is taken; False where there is nothing."""
        while True:
            self.ended = bool(self.study.user_attrs.get("ended"))
            every = self.trials()
            done, open_ = self._tally(every)
            if any(t.state == TrialState.WAITING for t in open_):
                return every
            if not self.ended and done + sum(map(self._ours, open_)) < self.wanted:
                return every
            if not open_:
                return None
            if meanwhile():
                continue
            # one comes free if a running trial fails, or if its worker is gone (study/storing/reaper.py)
            time.sleep(WAIT_S)

    def free_for(self, number: int) -> bool:
        """Whether this trial has one. Places go by trial number: done ones first, then open ones. Any below may turn out to need
        its; one that is queued may be a net given back in the moment between another worker's look at the queue and its new
        trial."""
        done, open_ = self._tally(self.trials())
        return done + sum(t.number < number and self._ours(t) for t in open_) < self.wanted

    def seen(self, net_id: str, number: int) -> tuple[FrozenTrial | None, bool]:
        """The trial that has this net's record, or is at it: finished, over budget, running under a lower number or begun. And
        whether a lower one is still choosing."""
        every = self.trials()
        choosing = any(t.state == TrialState.RUNNING and t.number < number and "id" not in t.user_attrs for t in every)
        same = (t for t in every if t.user_attrs.get("id") == net_id and t.number != number and is_row(t))
        return next((t for t in same if _has_it(t, number)), None), choosing

    def _ours(self, trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get("origin", self.origin) == self.origin)

    def _tally(self, trials: list[FrozenTrial]) -> tuple[int, list[FrozenTrial]]:
        """How many nets were searched, and the rows that are not over. Of a trial that is over nothing changes any more."""
        open_ = []
        for t in trials:
            if t.number in self._over:
                continue
            if t.state.is_finished():
                self._over.add(t.number)
                self._done += t.state == TrialState.COMPLETE and is_row(t) and t.user_attrs.get("origin") == self.origin
            elif is_row(t):
                open_.append(t)
        return self._done, open_


def _has_it(trial: FrozenTrial, number: int) -> bool:
    """Whether a trial of the same net keeps `number` from it."""
    attrs = trial.user_attrs
    if trial.state == TrialState.RUNNING:
        return trial.number < number or BEGUN in attrs
    if trial.state == TrialState.FAIL:  # by itself: it would again
        return "retry_of" not in attrs and "killed" not in attrs.get("reason", "")
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
