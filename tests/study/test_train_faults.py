"""What befalls a training: a full disk, a loss that is not finite, a broken or foreign checkpoint. One line, exit code 2, the
last good checkpoint still there, nothing overwritten."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "data=digits",
    "data.resolution=12",
    "logger=none",
    "hardware.spread_s=0",
    "net=mobilenet_v1-0.25",
    "name=t",
    "epochs=40",
]
CHECKPOINT = Path("outputs/t/last.ckpt")


def command(*more, before=""):
    """train.py, with a line of Python run before it."""
    code = (
        f"import sys, runpy\n{before}\nsys.argv[0] = {str(ROOT / 'train.py')!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return [sys.executable, "-c", code, *SMALL, *more]


def run(cwd, *more, before="", **options):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*more, before=before), cwd=cwd, capture_output=True, text=True, timeout=300, env=env, **options)


def mark(cwd):
    return hashlib.sha256((cwd / CHECKPOINT).read_bytes()).hexdigest()


def trains(process, cwd):
    """Returns once it has written a checkpoint."""
    end = time.monotonic() + 120
    while not (cwd / CHECKPOINT).exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)


@pytest.fixture
def begun(tmp_path):
    """A training that was killed after its first epochs."""
    process = subprocess.Popen(command(), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    trains(process, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return tmp_path


def refused(done, *said):
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    for words in said:
        assert words in done.stderr, done.stderr


def test_a_full_disk_leaves_the_checkpoint_before(begun):
    was = mark(begun)
    size = (begun / CHECKPOINT).stat().st_size
    full = (  # files may not grow beyond half of a checkpoint from here on: the kernel refuses the rest
        "import resource, trainers.checkpoint as c; save = c.EachEpoch.save; c.EachEpoch.save = lambda self, t: "
        f"(resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2})), save(self, t))"
    )
    done = run(begun, before=full)
    refused(done, "last.ckpt could not be written (", "the one before is still there: make room and go on")
    assert mark(begun) == was and not list((begun / "outputs/t").glob(".last*"))


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(begun):
    was = mark(begun)
    spoil = "import trainers.objectives as o; loss = o.Objective.loss; o.Objective.loss = lambda *a: loss(*a) * float('nan')"
    done = run(begun, before=spoil)
    refused(done, "trainer.lr=0.05: the loss is not finite in epoch", "the last good checkpoint is")
    assert mark(begun) == was


def test_a_truncated_checkpoint_is_named_and_kept(begun):
    whole = (begun / CHECKPOINT).read_bytes()
    (begun / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    was = mark(begun)
    refused(run(begun), "name=t: ", "last.ckpt cannot be read (", "remove it to begin again")
    assert mark(begun) == was


def test_a_checkpoint_of_another_architecture_is_named_and_kept(begun, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / CHECKPOINT.parent).mkdir(parents=True)
    done = run(other, "epochs=1", "net=mobilenet_v2-0.5", "name=made")
    assert done.returncode == 0, done.stderr
    (begun / CHECKPOINT).write_bytes((other / "outputs/made/last.ckpt").read_bytes())
    was = mark(begun)
    refused(run(begun), "was made by another net, data or recipe (net: ", "remove it or give another name=")
    assert mark(begun) == was


def test_sigterm_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(command(), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    trains(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "Terminated." in said and "Go on with: " in said and "Traceback" not in said
