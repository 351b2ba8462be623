"""The measuring process: what travels to it, what it may import, and that nothing hangs when something dies."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hardware import MeasureError, Meter
from hardware.client import Client
from hardware.session import Protocol
from hardware.setting import Setting
from hardware.subject import job_of, subject_of
from searchspace import build
from searchspace.architecture import Architecture, Block, Head, Stage, Stem

STATIC = Architecture(Stem(8), (Stage((Block("residual", 8),)),), Head(), 16, 5)
GATED = Architecture(
    Stem(8), (Stage((Block("residual", 8), Block("residual", 8, gate="rnn"), Block("residual", 8, gate="rnn"))),), Head(), 16, 5,
    gate_sharing="shared", skip_alpha=0.1,
)  # fmt: skip
HUGE = Architecture(Stem(8), (Stage((Block("residual", 300_000),)),), Head(), 16, 5)
ROOT = Path(__file__).resolve().parents[2]


def quick(**options):
    return Meter("cpu", rounds=3, max_rounds=3, spread_s=0.1, **options)


def python(code, **more):
    return subprocess.run([sys.executable, "-"], input=textwrap.dedent(code), capture_output=True, text=True, cwd=ROOT, **more)


def test_a_script_on_stdin_measures():
    """As a notebook does: no file, no main guard."""
    done = python("""
        from hardware import Meter
        from searchspace import anchor
        with Meter("cpu", rounds=2, max_rounds=2, spread_s=0) as meter:
            (row,) = meter.measure([anchor("mobilenet_v1-0.25-32", classes=10)])
            print(row.process, row.low_ms < row.latency_ms < row.high_ms)
    """)
    assert (done.stdout, done.returncode) == ("own True\n", 0), done.stderr


def test_the_process_that_runs_files_imports_no_torch():
    done = python(
        "import sys, hardware.server, hardware.onnx_runtimes; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_everything_but_a_raw_module_in_eager_travels():
    trained = build(GATED).eval()
    with quick(runtime="eager") as meter:
        assert [r.process for r in meter.measure([STATIC, build(STATIC).eval(), trained])] == ["own"] * 3
        (named,) = meter.measure(["timm:mobilenetv3_small_050"], (1, 3, 32, 32))
        assert (named.process, named.runtime) == ("own", "eager") and named.parity < 1e-4
        raw = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
        assert [r.process for r in meter.measure([raw, STATIC], (1, 3, 8, 8))] == ["caller"] * 2  # one session, side by side
    assert all(p.device.type == "cpu" for p in trained.parameters())
    with quick() as meter:
        assert meter.measure([raw], (1, 3, 8, 8))[0].process == "own"  # as a file


def test_decisions_and_weights_travel():
    """The other process runs these weights, not some: it decides as this net does."""
    net = build(GATED).eval()
    for gate in net.gates.values():
        nn.init.zeros_(gate.core.decision.weight)
        nn.init.constant_(gate.core.decision.bias, 5.0)
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    for runtime in ("onnxruntime", "eager"):
        with quick(runtime=runtime) as meter:
            (row,) = meter.measure([net], images=images)
        assert (row.keep_rate, row.process) == (1.0, "own") and row.parity < 1e-4


def test_what_is_not_the_same_is_not_timed():
    setting = Setting("cpu", "onnxruntime")
    job = job_of(subject_of(STATIC, None, 1), setting, True)
    job.logits = job.logits + 0.1 * np.abs(job.logits).max()
    client = Client(setting, Protocol(2, 2, 0.0), "test", {})
    try:
        told = client.measure([job], None, lambda done: None)
    finally:
        client.close()
    assert "differ from torch's by 9" in told["bad"][0] or "differ from torch's by 1" in told["bad"][0]
    assert told["bad"][0].endswith("not timed")


def test_several_fresh_processes_take_turns():
    with quick() as meter:
        (three,) = meter.measure([STATIC], processes=3)
        (one,) = meter.measure([STATIC])
        slices = sorted(meter.slices)
    assert (three.processes, one.processes) == (3, 1)
    assert len(slices) >= 12 and all(before[1] <= after[0] for before, after in pairwise(slices))


def test_two_meters_of_two_processes_do_not_overlap_and_both_end():
    code = textwrap.dedent("""
        import sys
        from hardware import Meter
        from searchspace import anchor
        with Meter("cpu", rounds=12, max_rounds=12, spread_s=0.5) as meter:
            meter.measure([anchor("mobilenet_v1-0.25-32", classes=10), anchor("resnet_8")])
            print("\\n".join(f"{a} {b}" for a, b in meter.slices))
    """)
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    told = [p.communicate(timeout=120)[0].splitlines() for p in both]
    assert [p.returncode for p in both] == [0, 0] and all(len(lines) >= 12 for lines in told)
    slices = sorted(tuple(map(float, line.split())) for lines in told for line in lines)
    assert all(before[1] <= after[0] for before, after in pairwise(slices))


def test_a_process_that_is_killed_while_it_measures_is_begun_again():
    def kill(done):
        os.kill(meter._client.process.pid, signal.SIGKILL)

    with quick() as meter:
        meter.on_round = kill
        with pytest.raises(MeasureError, match="killed; most likely there was not enough memory"):
            meter.measure([STATIC])
        meter.on_round = lambda done: None
        began = time.monotonic()
        assert meter.measure([STATIC])[0].n > 0
        assert time.monotonic() - began < 30  # whoever held the lock is gone, and with it the lock


def test_ctrl_c_leaves_no_answer_behind():
    def stop(done):
        raise KeyboardInterrupt

    with quick() as meter:
        meter.on_round = stop
        with pytest.raises(KeyboardInterrupt):
            meter.measure([STATIC])
        meter.on_round = lambda done: None
        small, large = meter.measure([STATIC, Architecture(Stem(32), (Stage((Block("residual", 32),) * 6),), Head(), 32, 5)])
    assert small.latency_ms < large.latency_ms


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_it_goes_when_its_client_is_killed():
    code = "from hardware import Meter; m = Meter('cpu'); print(m._client.process.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the measuring process is still there")


def test_a_net_that_dies_while_it_is_prepared_is_the_one_that_is_named(monkeypatch):
    with quick() as meter:
        sent = meter._client._send
        killed = []

        def send_and_kill(request):
            sent(request)

        def hear(at, hear=meter._client._hear):
            told = hear(at)
            if told.get("preparing") == 1 and not killed:
                killed.append(os.kill(meter._client.process.pid, signal.SIGKILL))
                meter._client.process.wait()
                while hear(1).get("preparing") is not None:  # what it had said before
                    pass
            return told

        monkeypatch.setattr(meter._client, "_send", send_and_kill)
        monkeypatch.setattr(meter._client, "_hear", hear)
        with pytest.raises(MeasureError) as error:
            meter.measure([STATIC, HUGE_ENOUGH_TO_TAKE_TIME, STATIC])
    assert list(error.value.bad) == [1]


HUGE_ENOUGH_TO_TAKE_TIME = Architecture(Stem(64), (Stage((Block("residual", 256),) * 12),), Head(), 32, 5)


def test_a_net_that_needs_more_memory_than_there_is_is_refused_before_it_is_built():
    with quick() as meter, pytest.raises(MeasureError, match=r"needs about \d+\.\d GiB of memory, and \d+\.\d GiB are free"):
        meter.measure([HUGE, STATIC])
    with quick(batch=10_000_000) as meter, pytest.raises(MeasureError, match="GiB of memory"):
        meter.measure([nn.Conv2d(3, 4, 1)], (1, 3, 64, 64))
