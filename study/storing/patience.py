"""A storage that waits: a server that restarts, a network that is away, a full disk.

Every operation on the database is one transaction (of reading a whole study each part) and goes through `PatientStorage`; one
that fails for a reason outside of us is tried again for PATIENCE_S with growing pauses, by workers and parents alike. Then
`StorageGone` ends the process with one line: nothing that was finished is lost, and the same command goes on.

Tried again after a connection broke in the middle of a commit, an operation may have happened already. Attributes are the same
written twice; a trial made twice leaves one that nobody runs, which the reaper ends (study/storing/reaper.py).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, exc

from analysis.stored import DIALECTS, read_states, read_trial, read_trials
from study.storing import at_once, bulk
from study.storing.cache import Cache

PATIENCE_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
T = TypeVar("T")


class StorageGone(BaseException):
    """The storage did not answer for PATIENCE_S, or there is no room left; one line. Like KeyboardInterrupt no Exception:
    Optuna would record it as the trial's own failure, in the storage that is not there."""


def out_of_room(error: BaseException) -> None:
    """StorageGone if a file could not be written for want of room: the next trial would fare no better."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StorageGone(f"disk: {error.strerror} ({error.filename or 'a file of the output folder'}); make room") from None


def passing(error: BaseException | None) -> str:
    """What is wrong, in a line, if it may pass by itself (no connection, no room, busy); empty for anything else."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, (exc.OperationalError, exc.InterfaceError)) or getattr(error, "connection_invalidated", False):
            return " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        if isinstance(error, (exc.PendingRollbackError, exc.TimeoutError)):  # left behind by one of those above
            return " ".join(str(error).split())[:200]
        error = error.__cause__ or error.__context__
    return ""


class Patience:
    """How long one process waits for its storage; once over, it is over for all of its threads."""

    def __init__(self, limit_s: float = PATIENCE_S, tell: Callable[[str], None] | None = None):
        self.limit_s, self.tell = limit_s, tell
        self.over = ""

    def insist(self, operation: Callable[[bool], T]) -> T:
        """Its result; `operation(again)` knows whether it was tried before. StorageGone when patience ends."""
        begun, pause = time.monotonic(), FIRST_PAUSE_S
        again = False
        while True:
            if self.over:
                raise StorageGone(self.over)
            try:
                return operation(again)
            except Exception as error:
                if not (why := passing(error)):
                    raise
                if time.monotonic() - begun > self.limit_s:
                    self.over = f"storage: does not answer for {self.limit_s:.0f} s ({why}); what was finished is kept"
                    raise StorageGone(self.over) from None
                if not again and self.tell and threading.current_thread() is threading.main_thread():
                    self.tell(f"The storage does not answer ({why}); waiting up to {self.limit_s / 60:.0f} minutes.")
            again = True
            time.sleep(pause * random.uniform(0.5, 1.0))  # many workers wait for one server
            pause = min(LONGEST_PAUSE_S, pause * 2)


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's, with patience for each of its transactions (OPERATIONS below), and two of its own."""

    def __init__(self, url: str, patience: Patience, **arguments: Any):
        self.patience = patience
        self.chosen: dict[int, list[bulk.Param]] = {}  # parameters that wait for the next write of their trial
        self.study_of: dict[int, int] = {}  # trials that this process began
        super().__init__(url, **arguments)
        self.one_way = self.engine.name == "postgresql"  # study/storing/at_once.py
        # for what is one statement: a begin and a commit around it go to the server and back as well
        self.at_once = self.engine.execution_options(isolation_level="AUTOCOMMIT") if self.one_way else self.engine
        if self.engine.driver == "psycopg":
            event.listen(self.engine, "connect", at_once.prepared)
            self.engine.dispose()  # what is connected so far is not

    @functools.cached_property
    def cached(self) -> optuna.storages.BaseStorage:
        return Cache(self)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        def attempt(again: bool) -> bool:
            try:
                if self.one_way and state.is_finished() and trial_id not in self.chosen:
                    with self.at_once.connect() as connection:
                        at_once.finish(connection, trial_id, state, values)
                    return True
                with _create_scoped_session(self.scoped_session) as session:
                    if params := self.chosen.get(trial_id):
                        bulk.write(session, self.engine.name, trial_id, params, {})
                    return bulk.move(session, self.engine.name, trial_id, state, values)
            except UpdateFinishedTrialError:
                self.chosen.pop(trial_id, None)
                if again and self.get_trial(trial_id).state == state:
                    return True  # the attempt before went through, its answer did not
                raise

        moved = self.patience.insist(attempt)
        self.chosen.pop(trial_id, None)
        return moved

    def set_trial_user_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Several attributes, and the parameters chosen meanwhile, in one transaction: a commit is what a trial pays for."""

        def attempt(_: bool) -> None:
            if self.one_way:
                with self.at_once.connect() as connection:
                    return at_once.write(connection, trial_id, self.chosen.get(trial_id, ()), attrs)
            with _create_scoped_session(self.scoped_session) as session:
                bulk.write(session, self.engine.name, trial_id, self.chosen.get(trial_id, ()), attrs)

        if attrs or trial_id in self.chosen:
            self.patience.insist(attempt)
            self.chosen.pop(trial_id, None)

    def _set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution,
                         previous_distribution: BaseDistribution | None) -> None:  # fmt: skip
        if previous_distribution is None:  # of a name new to this process Optuna asks the storage
            previous_distribution = self._distribution(trial_id, param_name) or distribution
        check_distribution_compatibility(previous_distribution, distribution)
        self.chosen.setdefault(trial_id, []).append((param_name, param_value_internal, distribution))

    def _distribution(self, trial_id: int, name: str) -> BaseDistribution | None:
        return self.look(bulk.distribution_beside, trial_id, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        self.set_trial_user_attrs(trial_id, {})
        if self.engine.name not in DIALECTS:
            plain = super().get_trial
            return self.patience.insist(lambda _: plain(trial_id))
        return self.look(read_trial, trial_id, self.study_of.get(trial_id))

    def _get_trials(
        self, study_id: int, states: Any, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        if self.engine.name not in DIALECTS:
            once = super()._get_trials
            return self.patience.insist(lambda _: once(study_id, states, included_trial_ids, trial_id_greater_than))
        if states is not None:  # Optuna, when it looks past its cache
            return self.look(read_states, study_id, states)
        ids = {i for i in included_trial_ids if i <= trial_id_greater_than}
        return self.look(read_trials, study_id, ids, trial_id_greater_than)

    def look(self, read: Callable[..., T], *arguments: Any) -> T:
        """What a function of analysis/stored.py reads in one transaction."""

        def attempt(_: bool) -> T:
            with self.at_once.connect() as connection:
                return read(connection, *arguments)

        return self.patience.insist(attempt)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """None for Optuna, which would end them at its next trial without a word of why; the reaper asks `silent`."""
        return []

    def silent(self, study_id: int) -> list[int]:
        """Running trials without a heartbeat for the grace period, by the server's own clock."""
        return self.patience.insist(lambda _: super(PatientStorage, self)._get_stale_trial_ids(study_id))

    def record_heartbeat(self, trial_id: int) -> None:
        once = super().record_heartbeat

        def attempt(_: bool) -> None:
            if not self.one_way:
                return once(trial_id)
            with self.at_once.connect() as connection:
                at_once.hear(connection, trial_id)

        with contextlib.suppress(StorageGone):  # in a thread of its own: the main thread says it
            self.patience.insist(attempt)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        once = super()._create_new_trial

        def attempt(_: bool) -> FrozenTrial:
            if not self.one_way or template_trial is not None:
                return once(study_id, template_trial)
            with self.engine.begin() as connection:
                return at_once.begin(connection, study_id)

        begun = self.patience.insist(attempt)
        self.study_of[begun._trial_id] = study_id
        return begun

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        once = super().get_study_user_attrs

        def attempt(_: bool) -> dict[str, Any]:
            if not self.one_way:
                return once(study_id)
            with self.at_once.connect() as connection:
                return at_once.study_attributes(connection, study_id)

        return self.patience.insist(attempt)


OPERATIONS = (
    "create_new_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name", "get_study_name_from_id",
    "get_study_directions", "get_study_system_attrs", "get_all_studies", "set_trial_user_attr", "set_trial_system_attr",
    "set_trial_intermediate_value", "get_trial_id_from_study_id_trial_number",
)  # fmt: skip


def _patient(name: str) -> Callable[..., Any]:
    once = getattr(optuna.storages.RDBStorage, name)

    @functools.wraps(once)
    def insisted(self: PatientStorage, *args: Any, **named: Any) -> Any:
        return self.patience.insist(lambda _: once(self, *args, **named))

    return insisted


for _name in OPERATIONS:
    setattr(PatientStorage, _name, _patient(_name))
