"""What the report says of a search with halving, from rows made for it."""

from analysis.halving import halved, rung_table, second_seeds
from analysis.method import _lengths

PLAN = {"rungs": [1, 3], "eta": 2, "seeds": 2, "sample": 1}


def record(rows, budget=None, plan=PLAN):
    base = {"origin": "search", "state": "COMPLETE", "seed": 0, "rung": 0, "why": "first", "epochs": 1, "epochs_run": 1}
    table = rung_table([{**base, **row} for row in rows])
    return type("R", (), {"settings": {"halving": plan, "max_latency_ms": budget, "epochs": 3}, "rungs": table})()


def full(of, top1, ms, why="rung", **more):
    return {
        "of": of,
        "id": f"a{of}",
        "why": why,
        "rung": 1,
        "top1_val": top1,
        "latency_ms": ms,
        "epochs": 3,
        "epochs_run": 2,
        **more,
    }


def first(of, top1, ms, **more):
    return {"of": of, "id": f"a{of}", "top1_val": top1, "latency_ms": ms, **more}


def test_a_sampled_net_over_the_budget_would_not_have_joined():
    """A gated net is measured after its training."""
    rows = [first(0, 60.0, 0.3), first(1, 80.0, 0.9), full(0, 70.0, 0.3), full(1, 90.0, 0.9, "sample")]
    assert halved(record(rows)).joined == 1 and halved(record(rows, 0.4)).joined == 0
    hidden = [*rows, first(2, 50.0, 0.35), full(2, 80.0, 0.35, "sample"), first(3, 95.0, 0.5), full(3, 95.0, 0.3)]
    hidden[-1]["latency_ms"] = 0.5  # promoted, then found over the budget: it hides nobody
    assert halved(record(hidden, 0.4)).joined == 1


def test_second_seeds_are_the_searchs_own():
    rows = [first(0, 60.0, 0.3), full(0, 70.0, 0.3), full(0, 72.0, 0.3, "seed", seed=1)]
    assert second_seeds(record(rows)) == ["`a0`: 70.00, 72.00; mean 71.00"]
    assert second_seeds(record([{**row, "origin": "control"} for row in rows])) == []


def test_how_long_nets_were_trained():
    assert _lengths(record([])) == "nets were halted after epoch 1, or trained for all 3, up to 2 seeds near the front"
    assert _lengths(record([], plan=None)) == "3 epochs a net, one seed"
