"""Small real searches, run as a user runs them."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# nets of some hundred parameters on the smallest images: a trial takes a second
SMALL = [
    "searchspace=mobile",
    "hardware=cpu",
    "searchspace.skeletons=[mobilenet_v1]",
    "searchspace.alphas=[0.25]",
    "searchspace.families=[separable,residual]",
    "searchspace.depths=[1,2]",
    "searchspace.activations=[relu]",
    "searchspace.gates=[none]",  # gated nets are measured image by image, and have tests of their own
    "data.resolutions=[12]",
    "data.resolution=12",
    "anchors=[mobilenet_v1-0.25]",
    "epochs=1",
    "finalists.epochs=1",
    "hardware.spread_s=0",
    "logger=none",
    "max_latency_ms=null",  # what a net takes on this machine, with other tests beside it, must not decide
]


class Search:
    """One study in a folder of its own."""

    def __init__(self, cwd, name="demo"):
        self.cwd, self.name = cwd, name
        self.folder = cwd / "outputs" / name

    def command(self, *more):
        return [sys.executable, str(ROOT / "search.py"), *SMALL, f"name={self.name}", *more]

    def run(self, *more, timeout=300):
        return subprocess.run(self.command(*more), cwd=self.cwd, capture_output=True, text=True, timeout=timeout)

    def start(self, *more):
        # whoever runs the tests in the background has told them to ignore Ctrl-C, and children inherit that
        heed = (
            "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        command = [sys.executable, "-c", heed, *self.command(*more)[1:]]
        return subprocess.Popen(
            command, cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def rows(self):
        """(number, state, origin, id) of the trials that are rows."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.load_study(study_name=self.name, storage=f"sqlite:///{self.folder / 'study.db'}")
        hidden = {"duplicate_of", "withdrawn"}
        return [
            (t.number, t.state.name, t.user_attrs.get("origin"), t.user_attrs.get("id"))
            for t in study.get_trials(deepcopy=False)
            if not hidden & t.user_attrs.keys()
        ]

    def finished(self):
        """Number of trials that are over, told by the database itself; 0 before there is one."""
        try:
            with sqlite3.connect(f"file:{self.folder / 'study.db'}?mode=ro", uri=True, timeout=5) as db:
                return db.execute(
                    "select count(*) from trials t join studies s using (study_id) "
                    "where s.study_name = ? and t.state = 'COMPLETE'",
                    (self.name,),
                ).fetchone()[0]
        except sqlite3.Error:
            return 0


def workers_of(cwd):
    """Process numbers of the workers that run in a folder, where the system tells (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(cwd) and b"study.start" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # gone meanwhile, or not ours
            pass
    return found


def kill(process):
    """kill -9 of the parent alone: the workers must notice by themselves."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def search(tmp_path):
    return Search(tmp_path)
