"""The ledger: rows that survive, keys that tell apart what must not be mixed, and two real searches that share one."""

import csv
import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import searchspace.blocks as blocks
from analysis.records import read
from searchspace import card
from searchspace.anchors import anchor
from searchspace.architecture import FAMILIES, Architecture, Block, Family, Head, Stage, Stem
from searchspace.network import build
from study.known import keep_finalist, known_finalist
from study.ledger import ACCURACY, LATENCY, Ledger, key_of, url_of_ledger
from study.reuse import Reuse, code_digest, of_data, of_net
from study.storing.storage import open_storage, open_study
from study.trial import Candidate
from tests.study.conftest import Search
from trainers.data import load
from trainers.judged import evaluate
from trainers.recipe import Recipe
from trainers.supervised import fit


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_a_row_comes_back_and_its_dictionaries_grow(url):
    first, second = Ledger(url, "one"), Ledger(url, "two")
    assert first.find(ACCURACY, {"net": 1}) is None
    first.put(ACCURACY, {"net": 1, "seed": 0}, {"curve": {"1": 50.0}, "keep_rate": None})
    second.put(ACCURACY, {"seed": 0, "net": 1}, {"curve": {"2": 60.0}, "weights": {"two": "/w"}})
    value = {"curve": {"1": 50.0, "2": 60.0}, "keep_rate": None, "weights": {"two": "/w"}}
    assert first.find(ACCURACY, {"net": 1, "seed": 0}) == (value, "one")  # who trained it first
    assert first.find(LATENCY, {"net": 1, "seed": 0}) is None and first.find(ACCURACY, {"net": 1, "seed": 1}) is None


def _write(url, worker, n, of_all):
    ledger = Ledger(url, f"w{worker}")
    for i in range(n):
        ledger.put(ACCURACY, {"net": i if of_all else (worker, i)}, {"curve": {str(worker): float(i)}, "pad": "x" * 2000})


def test_many_writers_lose_nothing(url):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(url, w, 20, True)) for w in range(3)]
    [w.start() for w in writers]
    [w.join(120) for w in writers]
    assert [w.exitcode for w in writers] == [0, 0, 0]
    ledger = Ledger(url, "reader")
    for i in range(20):  # each wrote its own epoch into each row
        assert ledger.find(ACCURACY, {"net": i})[0]["curve"] == {"0": i, "1": i, "2": i}


def test_a_killed_writer_leaves_whole_rows(url, tmp_path):
    Ledger(url, "reader")
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(url, 0, 10**6, False))
    writer.start()
    while not _rows(tmp_path):
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    ledger, n = Ledger(url, "reader"), _rows(tmp_path)
    assert n > 0 and all(ledger.find(ACCURACY, {"net": (0, i)})[0]["curve"] == {"0": i} for i in range(n))
    ledger.put(ACCURACY, {"net": (0, n)}, {"curve": {}})
    assert _rows(tmp_path) == n + 1


def _rows(folder):
    with sqlite3.connect(folder / "ledger.db") as db:
        return db.execute("select count(*) from ledger").fetchone()[0]


def test_a_database_that_fails_is_told_once_and_stops_nobody(tmp_path, capsys):
    (tmp_path / "ledger.db").write_text("no database, but longer than the header of one would be\n" * 40)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "one")
    ledger.put(ACCURACY, {"net": 1}, {"curve": {}})
    assert ledger.find(ACCURACY, {"net": 1}) is None
    assert capsys.readouterr().err.count("The ledger cannot be used") == 1


class FakeMeter:
    def __init__(self, **more):
        self.machine, self.engine, self.protocol = {"cpu": "a"}, "e 1", {"rounds": 6}
        setting = {"threads": 1, "precision": "fp32", **more}
        self.setting = type("S", (), {"to_dict": lambda self: setting, "precision": setting["precision"]})()


class FakeBench:
    def __init__(self, data, **more):
        self.data, self.meter = data, FakeMeter(**more)
        self.settings = type("S", (), {"data": {"path": None}, "name": "s"})()

    def resolution(self, candidate):
        return 12

    def input_shape(self, candidate):
        return 1, 1, 12, 12


def reuse(url, data, **more):
    return Reuse(Ledger(url, "s"), FakeBench(data, **more))


PLAIN = Candidate(anchor("mobilenet_v1-0.25", resolution=12, classes=10, in_channels=1))
GATED = Candidate(anchor("skipnet_20-rnn", resolution=12, classes=10, in_channels=1))


def test_an_accuracy_is_of_the_same_net_recipe_data_and_seed(url, monkeypatch):
    data, recipe = load("digits"), Recipe(3, seed=1)
    mine = reuse(url, data)
    mine.keep_accuracy(PLAIN, recipe, {1: 40.0, 2: 50.0, 3: 60.0}, keep_rate=None)
    assert mine.accuracy(PLAIN, recipe)[0] == 60.0 and mine.accuracy(PLAIN, recipe, until=1)[0] == 40.0
    assert mine.accuracy(PLAIN, replace(recipe, device="cuda", threads=2))[2] == "s"
    other = Candidate(replace(PLAIN.architecture, resolution=24))
    assert mine.accuracy(other, recipe) is None
    for change in ({"epochs": 4}, {"seed": 2}, {"lr": 0.1}, {"precision": "bf16-mixed"}, {"label_smoothing": 0.0}):
        assert mine.accuracy(PLAIN, replace(recipe, **change)) is None, change
    assert reuse(url, load("digits")).accuracy(PLAIN, recipe) is not None
    for same in (load("digits", fraction=0.9), load("digits", crop=1), load("digits", flip=True)):
        assert reuse(url, same).accuracy(PLAIN, recipe) is None
    data.val[1][0] = (data.val[1][0] + 1) % 10  # one label
    assert reuse(url, data).accuracy(PLAIN, recipe) is None
    monkeypatch.setattr("study.reuse.trainer_code", lambda: "changed")
    assert reuse(url, load("digits")).accuracy(PLAIN, recipe) is None


def test_a_latency_is_of_the_same_machine_setting_and_decisions(url, monkeypatch):
    from hardware.latency import Latency
    from hardware.spread import Spread

    data, recipe = load("digits"), Recipe(3)
    spread = Spread(1.0, 1.0, 1.2, (0, 3, 1), (None, 0.9, 1.2))
    latency = Latency(1.0, 0.9, 1.1, 24, "onnxruntime", "m1", False, "", 0.5, 1, 1, visits_ms=(1.0, 1.1), spread=spread)
    mine = reuse(url, data)
    for candidate in (PLAIN, GATED):
        mine.keep_latency(candidate, latency, recipe)
        assert mine.latency(candidate, recipe) == (latency, "s")
    assert mine.latency(PLAIN, Recipe(9, seed=5)) is not None, "a static net costs the same, however it was trained"
    assert mine.latency(GATED, Recipe(3, seed=5)) is None and mine.latency(GATED, recipe, until=1) is None
    assert reuse(url, data, threads=2).latency(PLAIN, recipe) is None
    monkeypatch.setattr(FakeMeter, "__init__", _other_machine(FakeMeter.__init__))
    assert reuse(url, data).latency(PLAIN, recipe) is None
    mine.keep_latency(PLAIN, replace(latency, busy=True), recipe)
    mine.keep_latency(GATED, replace(latency, busy=True), recipe)
    assert mine.latency(PLAIN, recipe) is None, "a static net is measured again in a moment"
    assert mine.latency(GATED, recipe)[0].busy


def _other_machine(init):
    def made(self, **more):
        init(self, **more)
        self.machine = {"cpu": "b"}

    return made


def test_what_the_users_own_code_makes_is_in_no_ledger(url, monkeypatch):
    monkeypatch.setitem(blocks.BLOCKS, "mine", lambda channels_in, spec: None)
    monkeypatch.setitem(FAMILIES, "mine", Family("mine", "never"))
    own = Architecture(Stem(8), (Stage((Block("mine", 8),)),), Head(), resolution=12, classes=10, in_channels=1)
    assert of_net(Candidate(own)) is None and of_net(Candidate(None, "mine:make")) is None
    assert of_net(PLAIN)["resolution"] == 12 and "version" in of_net(Candidate(None, "timm:resnet18"))
    assert of_net(Candidate(None, "nasnet_a")) == {"name": "nasnet_a"}
    mine = reuse(url, load("digits"))
    mine.keep_accuracy(Candidate(own), Recipe(1), {1: 50.0})
    assert mine.accuracy(Candidate(own), Recipe(1)) is None


def test_files_are_told_by_path_size_and_date(tmp_path):
    def folder():
        files = sorted(tmp_path.rglob("*.png"))
        return type("F", (), {"train_files": (files, np.zeros(len(files), int)), "val_files": ([], np.zeros(0, int)),
                              "classes": ("a",), "crop": 0, "flip": False, "mean": (1.0,), "std": (1.0,)})()  # fmt: skip

    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"x" * 10)
    before = of_data(folder(), {"path": str(tmp_path)})
    assert of_data(folder(), {"path": str(tmp_path)}) == before
    (tmp_path / "b.png").write_bytes(b"x" * 11)
    assert of_data(folder(), {"path": str(tmp_path)}) != before


def test_the_code_counts_and_its_comments_do_not(tmp_path):
    def digest(text):
        (tmp_path / "a.py").write_text(text)
        return code_digest(["*.py"], tmp_path)

    plain = digest('"""One."""\ndef f(x):\n    """Two."""\n    return x + 1\n')
    assert digest('"""Other."""\n\n\ndef f(x):\n    # why\n    return (x + 1)\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain


def test_a_key_is_the_same_in_every_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 1, "b": [3]})


def test_where_it_lies(tmp_path):
    """Beside Optuna's tables, which neither mind nor lose it; without a storage beside the output folders."""
    settings = type("S", (), {"storage": None})
    assert url_of_ledger(settings, tmp_path / "outputs" / "demo") == f"sqlite:///{tmp_path}/outputs/ledger.db"
    settings.storage = f"sqlite:///{tmp_path / 'all.db'}"
    assert url_of_ledger(settings, tmp_path / "outputs" / "demo") == settings.storage
    open_study(open_storage(settings.storage), "s", ["maximize", "minimize"])
    Ledger(settings.storage, "s").put(ACCURACY, {"net": 1}, {"curve": {}})
    assert open_study(open_storage(settings.storage), "s", ["maximize", "minimize"]).trials == []
    assert Ledger(settings.storage, "s").find(ACCURACY, {"net": 1}) == ({"curve": {}}, "s")
    assert read(settings.storage, "s").phase == "empty"


TINY = Candidate(Architecture(Stem(4), (Stage((Block("separable", 4),)),), Head(), resolution=8, classes=10, in_channels=1))


def test_a_finalists_weights_must_give_its_accuracy_again(url, tmp_path):
    data, recipe, told = load("digits", with_test=True), Recipe(1), {}
    bench = FakeBench(data)
    bench.make = lambda candidate, seed: torch.manual_seed(seed) and build(candidate.architecture)
    bench.resolution = lambda candidate: 8
    bench.reuse = Reuse(Ledger(url, "s"), bench)
    test = data.source.test()
    test = torch.from_numpy(test[0]), torch.from_numpy(test[1])

    def known():
        told.clear()
        return known_finalist(TINY, bench, recipe, data, lambda: test, told.__setitem__)[1]

    assert known() is None and told == {}, "never trained"
    net = bench.make(TINY, 0)
    top1 = fit(net, data, recipe).top1_val
    found = {"top1_test": evaluate(net, *test, data, 8)[0], "keep_rate": None, "seconds": 1.0}
    bench.reuse.keep_accuracy(TINY, recipe, {1: top1})
    assert known() is None and told == {}, "a trial of the search was not tested, and its weights were not kept"
    keep_finalist(TINY, bench, recipe, found, {1: top1}, test, None)
    assert known() is None and "did not come to save its weights" in told["trained_again"]
    card.save(net, tmp_path / "nets" / "a", {})
    keep_finalist(TINY, bench, recipe, found, {}, test, tmp_path / "nets" / "a")
    assert known() == {"top1_val": top1, "top1_test": found["top1_test"], "keep_rate": None} and told == {"reused_from": "s"}
    for weights, why in ((bench.make(TINY, 5), "on the test images where s had"), (b"cut off", "cannot be used")):
        if isinstance(weights, bytes):
            (tmp_path / "nets" / "a" / "weights.safetensors").write_bytes(weights)
        else:
            card.save(weights, tmp_path / "nets" / "a", {})
        assert known() is None and why in told["trained_again"]
    test = test[0], test[1].flip(0)
    assert known() is None and told == {}, "other test images"


def test_a_second_search_trains_nothing_that_the_first_has_trained(tmp_path):
    # random: what pareto_gp proposes hangs on the latencies that were measured
    more = ["n_trials=1", "workers=1", "sampler=random", "finalists.seeds=2", f"storage=sqlite:///{tmp_path / 'all.db'}"]
    one, two = Search(tmp_path, "one"), Search(tmp_path, "two")
    first = one.run(*more)
    assert first.returncode == 0 and "From the ledger" not in first.stdout, first.stderr
    second = two.run(*more)
    assert second.returncode == 0, second.stderr
    nets = [p.name for p in (one.folder / "nets").iterdir()]
    reused = 2 + 2 * len(nets)  # the anchor and a net; finalists with two seeds each
    assert f"From the ledger: {reused} trainings reused, of one ({reused})" in second.stdout
    assert f"{reused} trainings were not done again" in (two.folder / "report.md").read_text()
    for column in ("id", "top1_val", "epochs"):
        assert _column(one, column) == _column(two, column)
    for net in nets:
        a, b = ((s.folder / "nets" / net / "weights.safetensors").read_bytes() for s in (one, two))
        assert a == b
    assert not list(two.folder.glob("*.log")), "a worker complained"


def _column(search, column):
    with open(search.folder / "trials.csv") as file:
        return [row[column] for row in csv.DictReader(file)]
