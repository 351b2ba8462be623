"""Who writes the report of a folder that several jobs share."""

import json
import os
import time

from study.storing.presence import PEN, STALE_S, Presence, last
from study.storing.storage import mine


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


def test_a_process_of_this_machine_that_was_killed_is_gone_at_once(tmp_path):
    with Presence(tmp_path) as here:
        living = here.mark.read_text()
        dead = json.dumps({**json.loads(living), "pid": 2**22 + 1})
    for name in (".at-work-here-1", PEN):
        (tmp_path / name).write_text(dead)
    with last(tmp_path) as ours:
        assert ours
    for said, free in ((living, False), (dead.replace(mine()["host"], "node7"), False), ("", False), (dead, True)):
        (tmp_path / ".at-work-here-1").write_text(said)
        with last(tmp_path) as ours:
            assert ours is free, said
