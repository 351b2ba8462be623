"""The trials of dead processes: ended with their reason, and their nets queued again.

On this machine at once, for a trial carries the host and process that runs it; on others the heartbeat tells
(study/storing/reaper.py).
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from study.storing.storage import alive, here, is_row, of_states, values_of

MAX_RETRY = 2
KILLED, TRIED_AGAIN = "its process was killed", "; tried again"


def give_back_dead(study: optuna.Study, private: bool, blame: bool = True) -> int:
    """Ends the running trials of processes of this machine that are gone, and queues them again. Returns how many.

    private: nobody else uses this storage, so a trial that does not yet name its process is a dead one's, too. blame: the
    net may have been what killed its process (no memory, say), and is given up the third time; not so after a Ctrl-C."""
    returned = 0
    for trial in of_states(study, TrialState.RUNNING):
        runner = trial.user_attrs.get("runner", {"host": here() if private else None})
        if runner["host"] != here() or alive(runner.get("pid"), runner.get("born")):
            continue
        returned += give_back(study, trial, blame)
    return returned


def give_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> bool:
    """Ends one trial as interrupted and queues its net again; one that killed its process three times stays ended. False when
    somebody else did so meanwhile."""
    attrs = trial.user_attrs
    tries = attrs.get("tries", 1) if blame else attrs.get("tries", 1) - 1
    why = KILLED + (" again: given up" if tries > MAX_RETRY else TRIED_AGAIN)
    try:
        if not blame:
            study._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
        study._storage.set_trial_user_attr(trial._trial_id, "reason", why)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    _queue_again(study, trial, tries)
    return True


def _queue_again(study: optuna.Study, trial: FrozenTrial, tries: int) -> None:
    attrs = trial.user_attrs
    if "rung" in attrs:
        return  # a promotion: who goes on is decided anew (study/halving.py)
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # those of a queued trial, asked for or not yet
    if tries <= MAX_RETRY and is_row(trial) and (params or "net" in attrs or "architecture" in attrs):
        keep: dict[str, Any] = {k: attrs[k] for k in ("origin", "net", "architecture", "edit_of", "id", "seed") if k in attrs}
        study.enqueue_trial(params, user_attrs={**keep, "retry_of": trial.number, "tries": tries + 1})


def queue_forgotten(study: optuna.Study) -> None:
    """Queues what was given back by a process that was killed before it had queued it again."""
    given_back = [t for t in of_states(study, TrialState.FAIL) if t.user_attrs.get("reason", "").endswith(TRIED_AGAIN)]
    queued = set(values_of(study, "retry_of") if given_back else ())
    for t in given_back:
        if t.number not in queued:
            _queue_again(study, t, t.user_attrs.get("tries", 1))
