"""What skipping saves on the clock, beside masked execution, a naive gather and the plain ResNet:

    python benchmarks/skipping.py [nets=skipnet_38,skipnet_110] [batches=1,8,64] [threads=1] [rounds=15] [parts=forced,gates,onnx]

forced: decisions given, each block kept with the same probability for each image, a new draw a round. Time over the time of the
plain ResNet (`architecture.without_gates()`, the same weights, eager, channels_last, the same batch) against the active share:
the share of its mult-adds that run, stem, shortcuts and head included. Ours (execution="gather"), masked execution as in the
paper's code, and the gather that one writes first (boolean indices, a copy of the batch a block). "Kept blocks alone" is what
a gather without any cost would take in eager torch: each block that has an image to run, on a ready batch of that size.
gates: all gates open and evaluated; what they cost beside the blocks.
onnx: the exported file in ONNX Runtime, batch 1, all gates open, beside the plain ResNet's file and a file that computes the
plain ResNet and the gates as outputs, without an `If`.

All in one process. A round: short turns of a few calls, in random order, the least time of each; a ratio is that of two such
times. Given are the median over the rounds and, in brackets, the 10th and 90th percentile. Exit code 1 if a target is missed.
docs/results/skipping.md holds what came out here. About 20 minutes.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RATES = (0.0, 0.25, 0.5, 0.75, 1.0)
GATES = ("rnn", "ff2")
# glibc gives freed blocks of some MB back to the kernel and faults them in again: at batch 64 up to half of the plain ResNet's
# time, and it comes and goes. Kept instead, for ours and peers alike (nothing changes elsewhere).
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_THRESHOLD_": "2000000000"}
TURN_S, TURNS_S = 0.005, 0.25  # a turn: calls for this long, two at least; turns until each had this long, two turns at least
failed: list[str] = []


def visit(calls: Mapping[str, Callable[[], Any]], order: random.Random) -> dict[str, float]:
    """Least ms of each over short turns in random order: what disturbs the machine for some ms meets no net in all of its turns."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in calls}
    turns = 0
    with torch.inference_mode():
        while turns < 2 or min(sum(each) for each in times.values()) < TURNS_S:
            for name in order.sample(list(calls), len(calls)):
                start, made = time.perf_counter(), 0
                while made < 2 or time.perf_counter() - start < TURN_S:
                    begun = time.perf_counter()
                    calls[name]()
                    times[name].append(time.perf_counter() - begun)
                    made += 1
            turns += 1
    return {name: min(each) * 1e3 for name, each in times.items()}


def spread(values: list[float], sign: str = "") -> str:
    import numpy as np

    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def verdict(what: str, value: float, most: float) -> str:
    """PASS or FAIL; a miss is remembered for the exit code."""
    if value <= most:
        return f"PASS (<= {most:.3f})"
    failed.append(what)
    return f"FAIL (> {most:.3f})"


def nets_of(name: str) -> tuple[Any, Any]:
    """(gated net, plain ResNet) with the same weights, in eval mode and channels_last."""
    import torch

    import searchspace as ss

    a = ss.anchor(name)
    torch.manual_seed(0)
    net, plain = ss.build(a), ss.build(a.without_gates())
    net.train()
    for _ in range(2):
        net._plain(torch.randn(8, 3, a.resolution, a.resolution))  # batch statistics that are not the initial ones
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k in plain.state_dict()})
    return net.eval().to(memory_format=torch.channels_last), plain.eval().to(memory_format=torch.channels_last)


def images(net: Any, batch: int) -> Any:
    import torch

    size = net.architecture.resolution
    return torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)


def active_share(counted: Any, force: Any) -> float:
    """force: (N, gates) -> mult-adds that run over those of the plain ResNet."""
    saved = counted.macs - counted.expected_macs(force.float().mean(0).tolist())
    return 1 - saved / (counted.macs - sum(gate.macs for gate in counted.gates.values()))


def naive(net: Any, x: Any, force: Any) -> Any:
    """The gather that one writes first."""
    x, k = net.stem(x), 0
    for block, gate in net.steps():
        if gate is None:
            x = block(x)
            continue
        kept, k = force[:, k], k + 1
        s = block.shortcut(x).clone()
        if kept.any():
            s[kept] = block(x[kept])
        x = s
    return net.head(x)


def alone(net: Any, x: Any, force: Any) -> Callable[[], None]:
    """Stem, ungated blocks and head on the batch, each other block on a ready batch of as many images as keep it, which lies
    where the last one lay."""
    y, k, ready, lies = net.stem(x), 0, [], {}
    for block, gate in net.steps():
        count, k = (len(x), k) if gate is None else (int(force[:, k].sum()), k + 1)
        if count:
            ready.append((block, lies.setdefault(y.shape, y)[:count]))
        y = block(y)

    def call() -> None:
        net.stem(x)
        for block, part in ready:
            block(part)
        net.head(y)

    return call


def forced(name: str, batch: int, rounds: int, order: random.Random) -> None:
    """A table: a row a keep rate."""
    import numpy as np
    import torch

    import searchspace as ss

    net, plain = nets_of(name)
    x, counted = images(net, batch), ss.count(net.architecture)
    print(f"\n### {name}, batch {batch}, decisions forced\n")
    print("| keep | active share | ours: time share | masked | naive gather | kept blocks alone | ours - active share | target |")
    print("| --: | --: | --: | --: | --: | --: | --: | --- |")
    dense: list[float] = []
    rows: dict[float, list[dict[str, float]]] = {rate: [] for rate in RATES}
    for k in range(-1, rounds):  # the first is not counted: kernels are prepared
        for rate in order.sample(RATES, len(RATES)):
            force = torch.rand(batch, len(net.gates)) < rate
            with torch.inference_mode():
                floor = alone(net, x, force)
            t = visit({
                "dense": lambda: plain(x),
                "ours": lambda: net.run(x, force),  # noqa: B023 - called before the next turn
                "masked": lambda: net.masked(x, force=force),  # noqa: B023
                "naive": lambda: naive(net, x, force),  # noqa: B023
                "alone": floor,
            }, order)  # fmt: skip
            if k >= 0:
                dense.append(t["dense"])
                share = {key: t[key] / t["dense"] for key in ("ours", "masked", "naive", "alone")}
                rows[rate].append({**share, "active": active_share(counted, force)})
    for rate, row in rows.items():
        ours, active = [r["ours"] for r in row], float(np.mean([r["active"] for r in row]))
        over = [r["ours"] - r["active"] for r in row]
        what = f"{name}, batch {batch}, keep {rate}"
        if rate == 1:
            said = verdict(what, float(np.median(ours)), 1.1)
        elif rate == 0:
            said = ""
        elif batch == 1:
            said = verdict(what, float(np.median(over)), 0.10)
        elif rate < 0.75:
            said = verdict(what, float(np.median(over)), 0.15)
        else:
            said = verdict(what, float(np.median(ours)), 1.0)
        others = " | ".join(spread([r[key] for r in row]) for key in ("masked", "naive", "alone"))
        print(f"| {rate} | {active:.3f} | {spread(ours)} | {others} | {spread(over, '+')} | {said} |", flush=True)
    print(f"\nplain ResNet: {min(dense):.3f} ms (least), {np.median(dense):.3f} ms (median)", flush=True)


def gates(name: str, batch: int, rounds: int, order: random.Random) -> None:
    """A row: one gate design."""
    import torch

    net, plain = nets_of(name)
    first, _ = nets_of(name)
    opened(net), opened(first)
    first.execution = "decide_first"
    x, force = images(net, batch), torch.ones(len(net.gates), dtype=torch.bool)
    calls = {
        "dense": lambda: plain(x),
        "forced": lambda: net.run(x, force),
        "asked": lambda: net.run(x),
        "first": lambda: first.run(x),
        "masked": lambda: net.masked(x),
    }
    rows = [visit(calls, order) for _ in range(rounds + 1)][1:]
    shares = {key: spread([t[key] / t["dense"] for t in rows]) for key in ("forced", "asked", "first", "masked")}
    own = spread([(t["asked"] - t["forced"]) / t["dense"] for t in rows])
    print(
        f"| {name} | {batch} | {shares['forced']} | {shares['asked']} | {own} | {shares['first']} | {shares['masked']} |",
        flush=True,
    )


def opened(net: Any) -> Any:
    """All gates open, whatever they see."""
    import torch

    for gate in net.gates.values():
        decision = gate.core.decision if hasattr(gate, "core") else gate.decision
        torch.nn.init.zeros_(decision.weight)
        decision.bias.data.copy_(torch.tensor([-20.0, 20.0] if decision.out_features == 2 else [20.0]))
    return net


def with_gates_as_outputs(net: Any) -> Any:
    """A module: every block and every gate, (1, classes + gates): logits and decisions."""
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            x, state, kept = self.net.stem(x), (), []
            for block, gate in self.net.steps():
                if gate is not None:
                    start = gate.start(x)
                    p, *new = gate(x, *((state or start) if start else ()))
                    state = tuple(new) or state
                    kept.append(p > 0.5)
                x = block(x)
            return torch.cat([self.net.head(x), torch.cat(kept).float()[None]], 1)

    return Outputs()


def onnx(name: str, threads: int, rounds: int, order: random.Random) -> None:
    """A row: one gate design."""
    import numpy as np

    from hardware.export import to_onnx
    from hardware.onnx_runtimes import OnnxRuntime
    from hardware.setting import Setting

    net, plain = nets_of(name)
    opened(net)
    shape = (1, 3, net.architecture.resolution, net.architecture.resolution)
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    calls, said = {}, {}
    for key, module in {"dense": plain, "outputs": with_gates_as_outputs(net), "exported": net}.items():
        runtime = OnnxRuntime(Setting("cpu", "onnxruntime", threads=threads))
        runtime.open(to_onnx(module, shape))
        x = runtime.load(pixels)
        calls[key] = lambda runtime=runtime, x=x: runtime.run(x)
        said[key], kept = runtime.read(calls[key]())
    assert kept is not None and kept.all()
    classes = said["dense"].shape[1]
    assert all(np.abs(y[:, :classes] - said["dense"]).max() <= 1e-4 * np.abs(said["dense"]).max() for y in said.values())
    rows = [visit(calls, order) for _ in range(rounds + 1)][1:]
    left = [(t["exported"] - t["outputs"]) / t["dense"] for t in rows]
    passed = verdict(f"{name}, ONNX Runtime", float(np.median(left)), 0.10)
    shares = " | ".join(spread([t[key] / t["dense"] for t in rows]) for key in ("outputs", "exported"))
    print(f"| {name} | {min(t['dense'] for t in rows):.3f} | {shares} | {spread(left, '+')} | {passed} |", flush=True)


def main(nets: list[str], batches: list[int], threads: int, rounds: int, parts: list[str]) -> int:
    import torch

    from hardware.machine import fingerprint

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    order = random.Random(0)
    print(f"{threads} thread(s), {rounds} rounds, eager channels_last")
    if "forced" in parts:
        for name in nets:
            for batch in batches:
                forced(name, batch, rounds, order)
    if "gates" in parts:
        print("\n### All gates open: times over the plain ResNet's\n")
        print("| net | batch | forced | gates evaluated | the gates' own time | decide_first | masked |")
        print("| --- | --: | --: | --: | --: | --: | --: |")
        for name in nets:
            for gate in GATES:
                for batch in batches:
                    gates(f"{name}-{gate}", batch, rounds, order)
    if "onnx" in parts:
        print("\n### ONNX Runtime, batch 1, all gates open: times over the plain ResNet's\n")
        print("| net | plain ResNet, ms | gates as outputs, no `If` | exported | left for the `If`s | target |")
        print("| --- | --: | --: | --: | --: | --- |")
        for name in nets:
            for gate in GATES:
                onnx(f"{name}-{gate}", threads, rounds, order)
    print("\nmachine: " + ", ".join(f"{k} {v}" for k, v in fingerprint().items() if v != ""))
    print(f"missed: {'; '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    given = dict(a.split("=") for a in sys.argv[1:])
    os.environ.setdefault("OMP_NUM_THREADS", given.get("threads", "1"))
    if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    sys.exit(
        main(
            given.get("nets", "skipnet_38,skipnet_110").split(","),
            [int(b) for b in given.get("batches", "1,8,64").split(",")],
            int(given.get("threads", 1)),
            int(given.get("rounds", 15)),
            given.get("parts", "forced,gates,onnx").split(","),
        )
    )
