"""Our measuring protocol beside its peers, and the latency predictor:

    python benchmarks/latency.py [runtime=onnxruntime] [processes=6] [beside=0] [loop=1500]
    python benchmarks/latency.py predictor

32 nets of the mobile space. Each of several fresh processes measures all of them by each protocol, the protocols in turns of
their own order: timm's (10 warm-up calls, mean of 40), torch.utils.benchmark's blocked_autorange (median) and ours at
max_ms=50. A protocol is as good as its sessions agree: Kendall's tau between the rankings of two processes. The value itself
is held against the minimum of a long loop of bare calls in processes of their own (before, amid and after, for the machine's
pace moves), and so are our 95 % intervals.
beside=2: a training with two threads, niced by nothing and bound by no lock, runs meanwhile.

The references' history begins empty and grows with the sessions, as a new user's does. predictor: 100 nets measured twice by our
protocol in two processes; learnt from 40 of them, many times over, and asked about the other 60.

docs/results/latency.md holds what came out here. About 4 minutes with ONNX Runtime.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NETS, SIZE, MAX_MS = 32, 32, 50.0
POOL, LEARNT, SPLITS = 100, 40, 200
PROTOCOLS = ("timm", "blocked_autorange", "ours", "ours in three")


def nets(n: int = NETS) -> list[Any]:
    """Random static nets of the mobile space at 32 px, up to 60 M mult-adds."""
    from searchspace.complexity import count
    from searchspace.space import named_space

    space = named_space("mobile", resolutions=(SIZE,), classes=10, gates=("none",))
    rng, found = random.Random(1), []
    while len(found) < n:
        net = space.walk(lambda name, choices: rng.choice(choices))
        if count(net).macs < 60e6 and net not in found:
            found.append(net)
    return found


def prepared(runtime: str) -> list[tuple[Any, Any]]:
    """(runtime, input) of each net: what the peers call."""
    from hardware.runtimes import make_runtime
    from hardware.setting import Setting
    from hardware.subject import subject_of

    found = []
    for net in nets():
        subject = subject_of(net, None, 1)
        made = make_runtime(Setting("cpu", runtime))
        made.prepare(subject.module, subject.shape)
        found.append((made, made.load(np.full(subject.shape, 127, np.uint8))))
    return found


def timm(made: Any, x: Any) -> float:
    """timm's benchmark.py: 10 warm-up, 40 timed, mean."""
    for _ in range(10):
        made.run(x)
    times = [made.timed_ms(x, time.perf_counter) for _ in range(40)]
    return float(np.mean(times))


def blocked_autorange(made: Any, x: Any) -> float:
    """torch.utils.benchmark at its defaults."""
    from torch.utils.benchmark import Timer

    return Timer("run(x)", globals={"run": made.run, "x": x}).blocked_autorange().median * 1e3


def session(runtime: str, seed: int) -> dict[str, Any]:
    """One process: every protocol on every net."""
    import torch

    from hardware import Meter

    torch.set_num_threads(1)
    made = prepared(runtime)
    order = random.Random(seed)
    found: dict[str, Any] = {}
    for protocol in order.sample(PROTOCOLS, len(PROTOCOLS)):
        begun = time.perf_counter()
        if protocol.startswith("ours"):
            several = 3 if protocol == "ours in three" else 1  # fresh processes, that share the budget
            with Meter("cpu", runtime=runtime, seed=seed) as meter:
                rows = meter.measure(nets(), max_ms=MAX_MS / several, processes=several)
            found[protocol] = [r.latency_ms for r in rows]
            found[f"{protocol} intervals"] = [(r.low_ms, r.high_ms) for r in rows]
            found[f"{protocol} busy"] = rows[0].busy
        else:
            with made[0][0].ready():
                visits = order.sample(range(NETS), NETS)
                times = {i: globals()[protocol](*made[i]) for i in visits}
            found[protocol] = [times[i] for i in range(NETS)]
        found[f"{protocol}_s"] = time.perf_counter() - begun
    return found


def loop(runtime: str, calls: int) -> dict[str, Any]:
    """The long run: bare calls, in passes over all nets, the minimum of each."""
    import torch

    torch.set_num_threads(1)
    made = prepared(runtime)
    least = [float("inf")] * NETS
    with made[0][0].ready():
        for _ in range(30):
            for i, (one, x) in enumerate(made):
                one.run(x)
                least[i] = min(least[i], *(one.timed_ms(x, time.perf_counter) for _ in range(calls // 30)))
    return {"least": least}


def pool(seed: int) -> dict[str, Any]:
    """The predictor's nets, measured in one session."""
    from hardware import Meter

    with Meter("cpu", seed=seed) as meter:
        rows = meter.measure(nets(POOL))
    return {"ms": [r.latency_ms for r in rows], "busy": rows[0].busy}


def predictor() -> None:
    """Kendall's tau of prediction and measurement on nets that it has not learnt from, over that of two measurements."""
    from hardware.predictor import LatencyPredictor

    first, second = (np.array(child("pool", str(k))["ms"]) for k in range(2))
    everything, random_ = nets(POOL), np.random.default_rng(0)
    repeat, predicted, errors = [], [], []
    for _ in range(SPLITS):
        order = random_.permutation(POOL)
        learnt, asked = order[:LEARNT], order[LEARNT:]
        model = LatencyPredictor.fit([(everything[i], first[i]) for i in learnt])
        said = np.array([model.predict(everything[i]) for i in asked])
        repeat.append(kendalltau(first[asked], second[asked]).statistic)
        predicted.append(kendalltau(said, second[asked]).statistic)
        errors.append(np.median(np.abs(said / second[asked] - 1)))
    ratio = np.array(predicted) / np.array(repeat)
    print(f"predictor, learnt from {LEARNT} of {POOL} nets, {SPLITS} splits: tau with another process's measurement "
          f"{np.mean(predicted):.4f}, tau of two measurements {np.mean(repeat):.4f}, ratio {ratio.mean():.4f} "
          f"(sd over splits {ratio.std():.4f}, worst {ratio.min():.4f}); median error {np.median(errors):.2%}, between the two "
          f"measurements {np.median(np.abs(first / second - 1)):.2%}")  # fmt: skip


def train_beside(threads: int) -> None:
    """A training that never ends."""
    import torch

    import searchspace as ss

    torch.set_num_threads(threads)
    net = ss.build(ss.anchor("mobilenet_v1-0.5-32", classes=10))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    x, y = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    while True:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()


def child(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def tau(runs: list[list[float]]) -> float:
    """Mean over pairs of processes."""
    return float(np.mean([kendalltau(a, b).statistic for a, b in itertools.combinations(runs, 2)]))


def main(runtime: str, processes: int, beside: int, calls: int) -> None:
    from hardware.machine import fingerprint

    print(f"loop: {calls} bare calls a net in each of three processes, before, amid and after", flush=True)
    loops = [child("loop", runtime, str(calls))["least"]]
    trainer = subprocess.Popen([sys.executable, __file__, "train", str(beside)], cwd=ROOT) if beside else None
    try:
        if trainer:
            time.sleep(8)
        runs = []
        for k in range(processes):
            if k == processes // 2 and trainer is None:
                loops.append(child("loop", runtime, str(calls))["least"])
            runs.append(child("session", runtime, str(k)))
            print(f"process {k + 1}/{processes}", flush=True)
    finally:
        if trainer:
            trainer.kill()
            trainer.wait()
    loops += [child("loop", runtime, str(calls))["least"] for _ in range(3 - len(loops))]
    least = np.min(loops, axis=0)
    quiet = f"beside a training with {beside} threads, no lock" if beside else "nothing beside"
    print(f"\n{runtime}, 1 thread, batch 1, {NETS} nets at {SIZE} px, {processes} processes, {quiet}\n")
    print("| protocol | tau between processes | 1 - tau over timm's | value over the long run's minimum, median | s a process |")
    print("| --- | --: | --: | --: | --: |")
    base = 1 - tau([r["timm"] for r in runs])
    for protocol in PROTOCOLS:
        values = np.array([r[protocol] for r in runs])
        t, off = tau(values.tolist()), float(np.median(values / least))
        seconds = np.mean([r[f"{protocol}_s"] for r in runs])
        print(f"| {protocol} | {t:.4f} | {(1 - t) / base:.2f} | {off:.3f} | {seconds:.1f} |")
    for protocol in PROTOCOLS[2:]:
        ours = np.array([r[protocol] for r in runs])
        low, high = (np.array([[i[k] for i in r[f"{protocol} intervals"]] for r in runs]) for k in (0, 1))
        inside = (low <= least) & (least <= high)
        others = np.array([np.median(np.delete(ours, k, 0), 0) for k in range(len(ours))])
        repeated = (low <= others) & (others <= high)
        print(f"\n{protocol}: |value / long run - 1|: median {np.median(np.abs(ours / least - 1)):.4f}, 95th percentile "
              f"{np.quantile(np.abs(ours / least - 1), 0.95):.4f}; 95 % intervals hold the long-run value in "
              f"{inside.mean():.1%} of {inside.size} net-sessions (too low {np.mean(high < least):.1%}, too high "
              f"{np.mean(low > least):.1%}), and the median of the other processes' values in {repeated.mean():.1%}; "
              f"their width is {np.median((high - low) / ours):.1%} of the value (median); "
              f"busy: {sum(r[f'{protocol} busy'] for r in runs)} of {processes} sessions")  # fmt: skip
    print("\nmachine: " + ", ".join(f"{k} {v}" for k, v in fingerprint().items() if v != ""))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2" if sys.argv[1:2] == ["train"] else "1")
    if sys.argv[1:2] not in (["session"], ["loop"], ["pool"], ["train"]):
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="latency-benchmark-")
    if sys.argv[1:2] == ["session"]:
        print(json.dumps(session(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["pool"]:
        print(json.dumps(pool(int(sys.argv[2]))))
    elif sys.argv[1:2] == ["predictor"]:
        predictor()
    elif sys.argv[1:2] == ["loop"]:
        print(json.dumps(loop(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["train"]:
        train_beside(int(sys.argv[2]))
    else:
        given = dict(a.split("=") for a in sys.argv[1:])
        main(
            given.get("runtime", "onnxruntime"),
            int(given.get("processes", 6)),
            int(given.get("beside", 0)),
            int(given.get("loop", 1500)),
        )
