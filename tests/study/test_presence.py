"""Who writes the report of a folder that several jobs share."""

import os
import time

from study.storing.presence import PEN, STALE_S, Presence, last


def test_the_last_writes_and_only_one_of_two_that_end_together(tmp_path):
    with Presence(tmp_path), last(tmp_path) as ours:
        assert not ours, "somebody is at work"
    with last(tmp_path) as first, last(tmp_path) as second:
        assert first and not second
    assert list(tmp_path.iterdir()) == []


def test_marks_of_dead_jobs_do_not_count(tmp_path):
    for name in (".at-work-node7-123", PEN):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - STALE_S - 1,) * 2)
    with last(tmp_path) as ours:
        assert ours
    assert list(tmp_path.iterdir()) == []
