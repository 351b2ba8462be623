"""What halving keeps of the hypervolume, from searches that were run: python benchmarks/halving.py OUTPUTS...

Each OUTPUTS is an outputs folder with searches under one ledger.db. A search with halving is told as it ran. A search that
trained everything is also replayed: its ledger holds val top-1 after each epoch, and since a rung is a part of the full-length
schedule (study/halving.py), who would have gone on and what that would have kept is known without training anything. Beside it
as many nets promoted at random (mean of 500 draws). Commands and what came out: docs/results/halving.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sqlalchemy import create_engine, text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.halving import front_volume, halved  # noqa: E402
from analysis.pareto import hypervolume  # noqa: E402
from analysis.records import Record, list_studies, read  # noqa: E402
from study.rungs import going_on  # noqa: E402

PLANS = ((4.0, (1,)), (3.0, (1,)), (6.0, (2,)), (3.0, (1, 3)), (2.0, (1, 2)))  # eta, rungs below the last
LEAST = (0.0, 60.0)  # percent: references; the other coordinate is the budget
Curves = dict[int, tuple[dict[int, float], float]]  # number -> (epoch -> val top-1, latency in ms)


def curves(record: Record, ledger: Path) -> Curves:
    """Of the static and gated nets of a search that trained everything, by the number of the row."""
    with create_engine(f"sqlite:///{ledger.resolve()}").connect() as db:
        rows = db.execute(text("select about, value from ledger where kind = 'accuracy'")).all()
    found = {}
    for about, value in ((json.loads(a), json.loads(v)) for a, v in rows):
        if about["recipe"]["epochs"] == record.settings["epochs"] and about["recipe"]["seed"] == record.settings["seed"]:
            found[json.dumps(about["net"], sort_keys=True)] = {int(e): v for e, v in value["curve"].items()}
    done = record.trials[(record.trials["state"] == "COMPLETE") & (record.trials["origin"] != "control")]
    return {
        row["number"]: (found[key], row["latency_ms"])
        for row in done.to_dict("records")
        if (key := json.dumps(record.architectures.get(row["id"]), sort_keys=True)) in found
    }


def replay(nets: Curves, eta: float, rungs: tuple[int, ...], epochs: int, budget: float) -> tuple[list[int], int]:
    """Who would be trained in full, and the epochs that takes."""
    alive, spent, before = sorted(nets), 0, 0
    refused = [n for n in nets if nets[n][1] > budget]
    for rung in rungs:
        spent, before = spent + len(alive) * (rung - before), rung
        alive = going_on({n: (nets[n][0][rung], nets[n][1]) for n in alive}, (), eta, refused, last=True)
    return alive, spent + len(alive) * (epochs - before)


def volume(nets: Curves, chosen: list[int], epochs: int, reference: tuple[float, float]) -> float:
    return hypervolume([nets[n][0][epochs] for n in chosen], [nets[n][1] for n in chosen], reference)


def tell(record: Record, ledger: Path) -> None:
    budget, epochs = float(record.settings["max_latency_ms"]), int(record.settings["epochs"])
    print(f"\n{record.name} ({record.phase})")
    if (h := halved(record)) is not None:
        volumes = ", ".join(f"above {low:g} %: {front_volume(record, (low, budget)):.3f}" for low in LEAST)
        print(f"  {h.spent:g} of {h.whole:g} epochs, {h.full} of {h.nets} nets in full; tau {h.tau:.2f} over {h.n}; "
              f"{h.joined} of {h.sampled} sampled halted nets would join the front\n  hypervolume {volumes}")  # fmt: skip
        return
    nets = curves(record, ledger)
    whole = [volume(nets, list(nets), epochs, (low, budget)) for low in LEAST]
    print(f"  {len(nets)} nets, {len(nets) * epochs} epochs; hypervolume "
          + ", ".join(f"above {low:g} %: {v:.3f}" for low, v in zip(LEAST, whole)))  # fmt: skip
    last = [c[epochs] for c, _ in nets.values()]
    taus = {e: kendalltau([c[e] for c, _ in nets.values()], last).statistic for e in (1, 2, 3, 5) if e < epochs}
    print("  tau to the last epoch: " + ", ".join(f"after {e}: {t:.2f}" for e, t in taus.items()))
    rng = np.random.default_rng(0)
    for eta, rungs in PLANS:
        chosen, spent = replay(nets, eta, rungs, epochs, budget)
        drawn = [rng.choice(list(nets), len(chosen), replace=False).tolist() for _ in range(500)]
        kept = []
        for low, v in zip(LEAST, whole):
            at_random = np.mean([volume(nets, d, epochs, (low, budget)) for d in drawn]) / v
            kept.append(f"above {low:g} %: {volume(nets, chosen, epochs, (low, budget)) / v:.3f} (at random {at_random:.3f})")
        share = spent / len(nets) / epochs
        print(
            f"  eta {eta:g}, rungs {(*rungs, epochs)}: {share:.0%} of the epochs, {len(chosen)} in full, keeps " + ", ".join(kept)
        )


if __name__ == "__main__":
    for outputs in map(Path, sys.argv[1:]):
        for study in list_studies(outputs):
            tell(read(study.storage_url, study.name), outputs / "ledger.db")
