"""How many trainings a sampler needs, on a table of nets that were all trained:

    python benchmarks/samplers.py data=nasbench_macro.csv.gz [spaces=macro,conditional] [methods=A;B] [seeds=10] [n=200] [out=F]

NAS-Bench-Macro (benchmarks/nasbench_macro.py): top-1 as published, mean of three trainings; latency by our meter (ONNX Runtime,
one thread, batch 1) on a sample of its nets, the others from an additive model whose R2 on held-out nets is printed. `macro`:
eight choices of three; `conditional`: the same nets, written with choices that hang on others (kind of a layer, then the size of
an inverted residual). Each method proposes, sees (top-1, latency) and goes on; all in one process, one thread.

A net that was proposed before costs no training and is not counted, for any method. `ours` is told the exact latency, mult-adds
and parameters of any net (in a search: a forecast of the latency), `ours, blind` nothing, like the peers.

Gap: what is missing of the true front's hypervolume, in %; reference point: the 95th percentile of the error and the greatest
latency, both scaled to [0, 1]. Given are mean and standard error over seeds; the evaluations at which the mean gap first is at
most 6, 4 and 2 %; and ms a suggestion, the mean of the last ten of 100.

Every run is written to F/runs.jsonl as soon as it is over, and not run again. docs/results/samplers.md holds what came out.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: its threads wait for each other on matrices as small as these

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from nasbench_macro import Macro, latencies  # noqa: E402

AT = (25, 50, 100, 200)
SAMPLE = 120  # nets measured
SLOW = {"optuna GPSampler": 100, "optuna GPSampler, log error": 100}  # evaluations at most: 0.3 to 1 s a suggestion
DIGITS = ("0", "1", "2")
REPEATS = 50  # proposals in a row that are not new: then the run ends
Ask = Callable[[str, tuple[Any, ...]], Any]
Run = Iterator[str]  # proposes nets, is sent their (top1, ms)


class Table:
    """The nets with both objectives, and how far a list of them is from the front."""

    def __init__(self, macro: Macro, ms: np.ndarray):
        from analysis.pareto import hypervolume

        self.macro, self.ms = macro, ms
        self.at = {net: i for i, net in enumerate(macro.nets)}
        error = 100 - macro.top1
        self._worst, self._best = float(np.quantile(error, 0.95)), float(error.min())
        self.whole = hypervolume(*self._scaled(np.arange(len(ms))), (0.0, 1.0))

    def _scaled(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error, ms = 100 - self.macro.top1[rows], self.ms[rows]
        return (self._worst - error) / (self._worst - self._best), (ms - self.ms.min()) / (self.ms.max() - self.ms.min())

    def __getitem__(self, net: str) -> tuple[float, float]:
        return float(self.macro.top1[self.at[net]]), float(self.ms[self.at[net]])

    def facts(self, nets: list[str]) -> np.ndarray:
        rows = [self.at[net] for net in nets]
        return np.stack([self.ms[rows], self.macro.macs[rows], self.macro.params[rows]], 1)

    def gaps(self, nets: list[str]) -> np.ndarray:
        """% after each evaluation."""
        from analysis.pareto import hypervolume_over

        volumes = hypervolume_over(*self._scaled(np.array([self.at[net] for net in nets])), (0.0, 1.0))
        return np.asarray(100 * (1 - volumes / self.whole))


def plain(ask: Ask) -> str:
    return "".join(ask(f"b{i}", DIGITS) for i in range(8))


def conditional(ask: Ask) -> str:
    net = ""
    for i in range(8):
        kind = ask(f"b{i}.kind", ("identity", "inverted"))
        net += "0" if kind == "identity" else {"small": "1", "large": "2"}[ask(f"b{i}.size", ("small", "large"))]
    return net


SPACES: dict[str, Callable[[Ask], str]] = {"macro": plain, "conditional": conditional}


class Known:
    """What our sampler is told: the cost and the sizes of any net; with `walk` which choices there are, too, and which
    parameter sets are one net (an identity beside a block of the same shape may come first or last)."""

    def __init__(self, table: Table, space: Callable[[Ask], str]):
        self.table, self.space = table, space

    def __call__(self, params: list[dict[str, Any]]) -> np.ndarray:
        return self.table.facts([self.space(lambda name, _, p=p: p[name]) for p in params])


class KnownWalk(Known):
    def walk(self, ask: Ask) -> str:
        net = self.space(ask)
        for a, b in ((3, 4), (6, 7)):
            if net[a] == "0":
                net = net[:a] + net[b] + "0" + net[b + 1 :]
        return net


def by_optuna(make: Callable[[int], Any], space: Callable[[Ask], str], seed: int, log_error: bool = False) -> Run:
    import optuna

    study = optuna.create_study(directions=["minimize" if log_error else "maximize", "minimize"], sampler=make(seed))
    while True:
        trial = study.ask()
        top1, ms = yield space(trial.suggest_categorical)
        study.tell(trial, (np.log(100 - top1) if log_error else top1, ms))


def by_pymoo(name: str, space: Callable[[Ask], str], seed: int) -> Run:
    """Population 20; genes that a net does not ask for are there and do nothing."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.sms import SMSEMOA
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    genes: dict[str, tuple[Any, ...]] = {}
    for last in (0, -1):
        space(lambda name, choices, last=last: genes.setdefault(name, choices)[last])
    problem = Problem(n_var=len(genes), n_obj=2, xl=0, xu=np.array([len(c) - 1 for c in genes.values()]), vtype=int)
    algorithm = {"NSGA2": NSGA2, "SMS-EMOA": SMSEMOA}[name](
        pop_size=20, sampling=IntegerRandomSampling(), eliminate_duplicates=True,
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
    )  # fmt: skip
    algorithm.setup(problem, seed=seed, verbose=False, termination=("n_gen", 10_000))
    while True:
        born = algorithm.ask()
        values = []
        for x in np.round(born.get("X")).astype(int):
            chosen = {name: choices[k] for (name, choices), k in zip(genes.items(), x)}
            top1, ms = yield space(lambda name, _, chosen=chosen: chosen[name])
            values.append([100 - top1, ms])
        born.set("F", np.array(values))
        algorithm.tell(infills=born)


def local_search(space: Callable[[Ask], str], seed: int) -> Run:
    """Pareto local search: ten random nets, then an untried neighbour (one choice changed) of a random member of the front."""
    from analysis.pareto import front_mask

    rng = random.Random(seed)
    seen: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {}
    while True:
        base: dict[str, Any] = {}
        if len(seen) >= 10:
            rows = list(seen.values())
            on = front_mask([v[0] for _, v in rows], [v[1] for _, v in rows])
            base = rng.choice([p for (p, _), front in zip(rows, on) if front])
        change = rng.choice(list(base)) if base else ""
        params: dict[str, Any] = {}

        def ask(name: str, choices: tuple[Any, ...], base=base, change=change, params=params) -> Any:
            others = [c for c in choices if c != base.get(name)]
            params[name] = base[name] if name in base and name != change else rng.choice(others)
            return params[name]

        net = space(ask)
        if net not in seen:
            seen[net] = params, (yield net)


def methods(table: Table, space: Callable[[Ask], str]) -> dict[str, Callable[[int], Run]]:
    import optuna.samplers as s

    from study.samplers import make

    def optuna_(create: Callable[[int], Any], log_error: bool = False) -> Callable[[int], Run]:
        return lambda seed: by_optuna(create, space, seed, log_error)

    return {
        "ours": optuna_(lambda seed: make("pareto_gp", seed, Known(table, space))),
        "ours, walking": optuna_(lambda seed: make("pareto_gp", seed, KnownWalk(table, space))),
        "ours, blind": optuna_(lambda seed: make("pareto_gp", seed)),
        "random": optuna_(lambda seed: s.RandomSampler(seed=seed)),
        "optuna TPE, default": optuna_(lambda seed: s.TPESampler(seed=seed)),
        "optuna TPE, multivariate": optuna_(lambda seed: s.TPESampler(seed=seed, multivariate=True, group=True)),
        "optuna NSGA-II": optuna_(lambda seed: s.NSGAIISampler(seed=seed)),
        "optuna NSGA-II, population 20": optuna_(lambda seed: s.NSGAIISampler(seed=seed, population_size=20)),
        "optuna NSGA-III, population 20": optuna_(lambda seed: s.NSGAIIISampler(seed=seed, population_size=20)),
        "optuna GPSampler": optuna_(lambda seed: s.GPSampler(seed=seed)),
        "optuna GPSampler, log error": optuna_(lambda seed: s.GPSampler(seed=seed), log_error=True),
        "pymoo NSGA2": lambda seed: by_pymoo("NSGA2", space, seed),
        "pymoo SMS-EMOA": lambda seed: by_pymoo("SMS-EMOA", space, seed),
        "Pareto local search": lambda seed: local_search(space, seed),
    }


def evaluate(run: Run, table: Table, n: int) -> tuple[list[str], list[float]]:
    """Distinct nets in the order proposed, ms each suggestion took (the tell of the one before included). A net proposed again
    costs no training: it is answered from the table and not counted."""
    nets, took, answer, repeats = dict[str, None](), [], None, 0
    while len(nets) < n and repeats < REPEATS * n:
        begun = time.perf_counter()
        net = run.send(answer)  # type: ignore[attr-defined]
        took.append(1e3 * (time.perf_counter() - begun))
        repeats += net in nets
        nets[net] = None
        answer = table[net]
    return list(nets), took


def measured(path: Path, macro: Macro, hardware: str) -> tuple[list[str], np.ndarray]:
    """(nets, ms) of the sample, from the file, or measured now and written there."""
    if not path.is_file():
        from hardware.meter import Meter

        sample = [macro.nets[i] for i in np.random.default_rng(0).choice(len(macro.nets), SAMPLE, replace=False)]
        print(f"measuring {SAMPLE} nets ({hardware}) ...", flush=True)
        with Meter(hardware) as meter:
            found = meter.measure([macro.architecture(net) for net in sample])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["arch", "latency_ms", "low_ms", "high_ms", "machine"])
            for net, f in zip(sample, found):
                out.writerow([net, f"{f.latency_ms:.6f}", f"{f.low_ms:.6f}", f"{f.high_ms:.6f}", f.machine])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [row["arch"] for row in rows], np.array([float(row["latency_ms"]) for row in rows])


def digest(latency_file: Path) -> str:
    """Of our sampler's sources and of the latencies."""
    import hashlib

    files = [ROOT / "study" / "pareto_gp.py", *sorted((ROOT / "study" / "surrogate").glob("*.py")), latency_file]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def printed(runs: dict[tuple[str, str, int], dict[str, Any]], table: Table, space: str, names: list[str]) -> None:
    print(f"\n### {space}\n")
    print("| method | seeds | " + " | ".join(f"{k}" for k in AT) + " | evaluations to 6 / 4 / 2 % | ms a suggestion at 100 |")
    print("| --- | --: |" + " --: |" * (len(AT) + 2))
    for name in names:
        mine = [run for (s, m, _), run in sorted(runs.items()) if (s, m) == (space, name)]
        if not mine:
            continue
        least = min(len(run["nets"]) for run in mine)
        gaps = np.array([table.gaps(run["nets"])[:least] for run in mine])
        cells = []
        for k in AT:
            if gaps.shape[1] < k:
                cells.append("")
                continue
            at = gaps[:, k - 1]
            cells.append(f"{at.mean():.2f} ± {at.std(ddof=1) / len(at) ** 0.5:.2f}" if len(at) > 1 else f"{at[0]:.2f}")
        mean = gaps.mean(0)
        reach = " / ".join(str(int(np.argmax(mean <= g)) + 1) if (mean <= g).any() else "-" for g in (6, 4, 2))
        ms = np.mean([run["ms_at_100"] for run in mine if run["ms_at_100"] is not None] or [float("nan")])
        print(f"| {name} | {len(mine)} | {' | '.join(cells)} | {reach} | {ms:.1f} |")


def main(arguments: list[str]) -> None:
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    given = dict(a.split("=", 1) for a in arguments)
    out = Path(given.get("out", ROOT / "outputs" / "samplers"))
    out.mkdir(parents=True, exist_ok=True)
    seeds, n = int(given.get("seeds", 10)), int(given.get("n", 200))
    macro = Macro.read(Path(given["data"]))
    latency_file = Path(given.get("latency", ROOT / "docs" / "results" / "samplers" / "macro_latency.csv"))
    ms, r2 = latencies(macro, *measured(latency_file, macro, "cpu"))
    table = Table(macro, ms)
    print(f"{len(macro.nets)} nets; additive latency model, R2 on held-out nets {r2:.4f}; {ms.min():.3f} to {ms.max():.3f} ms")
    runs: dict[tuple[str, str, int], dict[str, Any]] = {}
    file = out / "runs.jsonl"
    code = digest(latency_file)
    for line in file.read_text().splitlines() if file.is_file() else []:
        row = json.loads(line)
        if row["method"].startswith("ours") and row["code"] != code:
            continue  # of a sampler or of latencies that are no more
        runs[row["space"], row["method"], row["seed"]] = row
    names: list[str] = []
    for space in given.get("spaces", "macro,conditional").split(","):
        there = methods(table, SPACES[space])
        names = [m for m in there if "methods" not in given or m in given["methods"].split(";")]
        for seed in range(seeds):
            for name in names:
                most = min(n, SLOW.get(name, n))
                if (space, name, seed) in runs and len(runs[space, name, seed]["nets"]) >= most:
                    continue
                nets, took = evaluate(there[name](seed), table, most)
                at_100 = float(np.mean(took[90:100])) if len(took) >= 100 else None
                row = {"space": space, "method": name, "seed": seed, "nets": nets, "ms_at_100": at_100, "code": code}
                runs[space, name, seed] = row
                with file.open("a") as to:
                    to.write(json.dumps(row) + "\n")
                print(f"{space} {name} seed {seed}: gap {table.gaps(nets)[-1]:.2f} % after {len(nets)}", flush=True)
        printed(runs, table, space, names)


if __name__ == "__main__":
    main(sys.argv[1:])
