"""Worker processes are started early and held: before they are let go nothing is theirs, and what ends them is told."""

import os
import time

import pytest

from study.workers import Workers, WorkersFailed, log_of


def test_a_held_worker_leaves_no_trace(tmp_path):
    with Workers(tmp_path, [0], 1, "cpu") as workers:
        (process,) = workers.running.values()
        begun = time.monotonic()
        while time.monotonic() - begun < 8:
            assert process.poll() is None and not workers.check()
            time.sleep(0.5)
        assert not list(tmp_path.iterdir())
    assert process.poll() is not None and not list(tmp_path.iterdir())


def test_one_whose_parent_forgets_it_ends(tmp_path):
    with Workers(tmp_path, [0], 1, "cpu") as workers:
        (process,) = workers.running.values()
        process.stdin.close()  # as the system does when the parent dies
        assert process.wait(timeout=120) == 1 and not list(tmp_path.iterdir())


def test_a_refused_command_leaves_the_logs_of_others(tmp_path):
    log_of(tmp_path, 0).touch()  # another parent's worker, which has not said anything yet
    with Workers(tmp_path, [0], 1, "cpu"):
        pass
    assert log_of(tmp_path, 0).exists()


def test_what_keeps_it_from_beginning_is_told(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lightning.py").write_text("raise OSError('libgomp is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    log_of(tmp_path, 0).write_text("of another day")
    with pytest.raises(WorkersFailed, match="libgomp is broken"), Workers(tmp_path, [0], 1, "cpu") as workers:
        while not workers.done:
            workers.check()
            time.sleep(0.1)


def test_one_that_is_let_go_has_a_log_of_its_own(tmp_path):
    with Workers(tmp_path, [3], 1, "cpu") as workers:
        workers.release()
        (process,) = workers.running.values()
        assert process.wait(timeout=120) == 1  # there is no study here
        assert "FileNotFoundError" in log_of(tmp_path, 3).read_text()
        assert workers._log_end(3).splitlines()[-1].startswith("FileNotFoundError")
        assert os.listdir(tmp_path) == ["worker-3.log"]
