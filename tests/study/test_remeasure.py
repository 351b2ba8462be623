"""measure.py name=STUDY: what is measured again, what is left out and why, and what measured.csv keeps."""

import hashlib
import subprocess
import sys
from contextlib import contextmanager

import optuna
import pandas as pd
import pytest

from hardware.meter import Latency, MeasureError
from hardware.setting import Setting
from searchspace import card
from searchspace.anchors import anchor
from searchspace.network import build
from study.measuring import remeasure
from study.measuring.remeasure import COLUMNS, left_out, measure_study
from study.settings import SettingsError
from tests.study.conftest import ROOT, Search

PLAIN = anchor("mobilenet_v1-0.25", resolution=16, classes=10, in_channels=1)
GATED = anchor("skipnet_8-rnn", resolution=16, classes=10, in_channels=1)
LOST = anchor("skipnet_14-rnn", resolution=16, classes=10, in_channels=1)
SETTINGS = {"data": {"name": "digits", "path": None, "fraction": 1.0, "resolution": 12}, "searchspace": {"plugins": []}}
CPU = {"device": "cpu", "runtime": "onnxruntime", "threads": 1, "batch": 1, "precision": "fp32", "rounds": 6, "spread_s": 0}


class Clock:
    """A meter that gives every net `ms`, refuses gated ones in batches, and remembers what it was asked."""

    setting = Setting()

    def __init__(self, ms=1.0, hardware=CPU):
        self.ms, self.hardware, self.asked = ms, hardware, []

    def measure(self, nets, shapes, max_ms, images, mean, std):
        gated = [i for i, net in enumerate(nets) if getattr(getattr(net, "architecture", net), "gates", ())]
        if gated and self.hardware["batch"] > 1:
            raise MeasureError({i: f"{nets[i].architecture.id}: one image at a time" for i in gated})
        self.asked.append((nets, shapes, images, mean))
        h = self.hardware
        return [
            Latency(self.ms, self.ms * 0.9, self.ms * 1.1, 9, h["runtime"], "m1", False, "", 0.5 if i in gated else None,
                    h["threads"], h["batch"])
            for i in range(len(nets))
        ]  # fmt: skip


@pytest.fixture
def again(tmp_path, monkeypatch):
    """again(nets, clock, ...) -> measured.csv as a table; GATED is a finalist that was saved."""
    card.save(build(GATED), tmp_path / "demo" / "nets" / GATED.id, {"id": GATED.id})

    def run(nets, clock=None, names=(), settings=SETTINGS, hardware=CPU):
        clock = clock or Clock(hardware=hardware)

        @contextmanager
        def session(asked, console):
            assert asked is hardware
            yield clock, lambda step, done: None

        monkeypatch.setattr(remeasure, "session", session)
        values = {a.id: a.to_dict() for a in nets if not isinstance(a, str)}
        study_ms = {a if isinstance(a, str) else a.id: 3.0 for a in nets}
        path = measure_study(study_ms, values, dict(names), settings, None, hardware, tmp_path / "demo")
        assert path == tmp_path / "demo" / "measured.csv" and not list(path.parent.glob(".measured*"))
        return pd.read_csv(path, keep_default_na=False)

    run.folder = tmp_path / "demo"
    return run


def test_static_nets_by_value_gated_ones_by_their_weights(again, capsys):
    clock = Clock()
    table = again([PLAIN, LOST, GATED], clock, {PLAIN.id: "mobilenet_v1-0.25", LOST.id: "skipnet_14-rnn"})
    ((nets, _, images, mean),) = clock.asked  # one session
    assert nets[0] == PLAIN and nets[1].architecture == GATED and not nets[1].training
    assert images.shape == (256, 1, 8, 8) and len(mean) == 1  # the digits, to decide on
    assert list(table.columns) == list(COLUMNS) and table["id"].tolist() == [PLAIN.id, GATED.id]
    assert table["net"].tolist() == ["mobilenet_v1-0.25", ""] and table["keep_rate"].astype(str).tolist() == ["", "0.5"]
    out = " ".join(capsys.readouterr().out.split())
    assert "Left out: skipnet_14-rnn: its latency hangs on trained gates" in out and "in the study, ms" in out and "3.000" in out


def test_a_setting_measured_again_replaces_itself_and_no_other(again):
    two = {**CPU, "threads": 2}
    other_layout = {**CPU, "channels_last": False}
    again([PLAIN, GATED], Clock(1.0))
    again([PLAIN, GATED], Clock(2.0, two), hardware=two)
    again([PLAIN], Clock(3.0, other_layout), hardware=other_layout)
    table = again([PLAIN], Clock(4.0))  # one session a setting: the old row of GATED is not kept beside a new one
    found = sorted(zip(table["threads"], table["options"], table["latency_ms"]))
    assert found == [(1, "", 4.0), (1, "channels_last=false", 3.0), (2, "", 2.0), (2, "", 2.0)]
    gpu = {**CPU, "device": "cuda"}
    assert len(again([PLAIN], Clock(5.0, gpu), hardware=gpu)) == 5  # the same runtime elsewhere is another setting


def test_what_a_meter_refuses_is_left_out_in_a_line(again, capsys):
    batch = {**CPU, "batch": 8}
    table = again([PLAIN, GATED], hardware=batch)
    assert table["id"].tolist() == [PLAIN.id] and table["batch"].tolist() == [8]
    assert f"Left out: {GATED.id}: one image at a time." in capsys.readouterr().out


def test_without_the_data_only_gated_nets_are_left_out(again, capsys):
    gone = {**SETTINGS, "data": {**SETTINGS["data"], "name": "npz", "path": "/nowhere/x.npz"}}
    assert again([PLAIN, GATED], settings=gone)["id"].tolist() == [PLAIN.id]
    out = " ".join(capsys.readouterr().out.split())
    assert f"Left out: {GATED.id}: gated nets decide on the study's validation images, which cannot be loaded (data.path" in out
    with pytest.raises(SettingsError, match=r"^name=demo: none of its nets can be measured; Left out: .*/nowhere/x.npz.*$"):
        again([GATED], settings=gone)


def test_a_module_is_made_by_its_name_for_the_studys_data(again, tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text(
        "import torch\ndef make(): return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    clock = Clock()
    table = again(["m1", "m2"], clock, {"m1": "my_net:make", "m2": "my_net:gone"})
    assert table["net"].tolist() == ["my_net:make"] and clock.asked[0][1] == [(1, 1, 12, 12)]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'id,"x\n1'])
def test_another_table_of_that_name_is_told_before_anything_is_measured(again, text):
    path = again.folder / "measured.csv"
    path.write_text(text)
    clock = Clock()
    with pytest.raises(SettingsError, match=r"^name=demo: .*measured\.csv is no table of measurements \(.*\); move it away"):
        again([PLAIN], clock)
    assert clock.asked == [] and path.read_text() == text


def test_reasons_are_told_once():
    lines = left_out([("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "x"), ("f", "x")], {"c": "net"})
    assert lines == ["Left out: a, net, d and 2 more: x.", "Left out: b: y."]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small real search with a gated anchor, through."""
    made = Search(tmp_path_factory.mktemp("remeasure"))
    done = made.run("n_trials=2", "anchors=[mobilenet_v1-0.25,skipnet_8-rnn]", "sampler=random", "workers=1")
    assert done.returncode == 0, done.stderr + done.stdout
    return made


def command(study, script, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / f"{script}.py"), *arguments], cwd=study.cwd, capture_output=True, text=True, timeout=300
    )


def refused(study, script, *arguments):
    before = sorted(study.cwd.rglob("*"))
    done = command(study, script, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr + done.stdout
    assert sorted(study.cwd.rglob("*")) == before, "something was left behind"
    return done.stderr


def test_the_whole_way(study):
    cure = refused(study, "report", "name=demo", "table=transfer")
    assert "table=transfer" in cure and "python measure.py name=demo hardware.threads=2" in cure
    before = hashlib.sha256((study.folder / "study.db").read_bytes()).hexdigest()
    done = command(study, "measure", "name=demo", "hardware.threads=2", "hardware.spread_s=0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("outputs/demo/measured.csv") and "2 threads" in done.stdout
    swept = command(study, "measure", "-m", "name=demo", "hardware.runtime=eager,onnxruntime", "hardware.spread_s=0")
    assert swept.returncode == 0, swept.stderr
    assert hashlib.sha256((study.folder / "study.db").read_bytes()).hexdigest() == before
    table = pd.read_csv(study.folder / "measured.csv")
    trained = {row[3]: row for row in study.rows() if row[1] == "COMPLETE"}
    saved = {p.name for p in (study.folder / "nets").iterdir()}
    assert saved <= set(table["id"]) <= set(trained)
    for _, rows in table.groupby(["runtime", "threads"]):
        assert rows["id"].is_unique and rows["measured_at"].nunique() == 1
        assert ((rows["low_ms"] > 0) & (rows["low_ms"] <= rows["latency_ms"]) & (rows["latency_ms"] <= rows["high_ms"])).all()
        assert rows.loc[rows["net"] == "skipnet_8-rnn", "keep_rate"].between(0, 1).all()
    assert sorted(set(zip(table["runtime"], table["threads"]))) == [("eager", 1), ("onnxruntime", 1), ("onnxruntime", 2)]
    shown = command(study, "report", "name=demo", "table=transfer")
    assert shown.returncode == 0 and "4  onnxruntime, 1 thread, batch 1" in shown.stdout and "Kendall" in shown.stdout
    assert command(study, "report", "name=demo").returncode == 0
    assert "On other hardware" in (study.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["name=demmo"], ["name=demmo", "no study", "there is demo", "nets=small"]),
        (["name=demo", "nets=small"], ["nets:", "name=demo is a study", "leave nets= out"]),
        (["name=demo", "resolution=32"], ["resolution:", "leave resolution= out"]),
        (["name=demo", "storage=sqlite:///none.db"], ["name=demo", "no file none.db"]),
        (["name=demo", "hardware.threads=0"], ["hardware.threads=0"]),
    ],
)
def test_wrong_input_of_measure(study, arguments, said):
    line = refused(study, "measure", *arguments)
    assert all(word in line for word in said), line


def test_a_corrupt_table_is_a_line_of_both_commands(study):
    path = study.folder / "measured.csv"
    before = path.read_bytes() if path.exists() else None
    path.write_text("rubbish\n")
    try:
        for script, *more in (("measure",), ("report",), ("report", "table=transfer")):
            line = refused(study, script, "name=demo", *more)
            assert "measured.csv" in line and "move it away" in line
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


def test_a_study_without_a_trained_net_and_one_that_is_not_through(study, tmp_path):
    def url(name):
        (study.cwd / "outputs" / name).mkdir()
        return f"sqlite:///{study.cwd / 'outputs' / name / 'study.db'}"

    optuna.create_study(study_name="empty", storage=url("empty"), directions=["maximize", "minimize"])
    assert "name=empty: no net is trained yet" in refused(study, "measure", "name=empty")
    part = optuna.create_study(study_name="part", storage=url("part"), directions=["maximize", "minimize"])
    whole = optuna.load_study(study_name="demo", storage=f"sqlite:///{study.folder / 'study.db'}")
    part.set_user_attr("settings", {**whole.user_attrs["settings"], "name": "part"})
    part.add_trial(next(t for t in whole.trials if t.user_attrs.get("net") == "mobilenet_v1-0.25"))
    done = command(study, "measure", "name=part", "hardware.spread_s=0")
    assert done.returncode == 0 and "part is not finished: the 1 net" in done.stdout, done.stderr + done.stdout
    assert len(pd.read_csv(study.cwd / "outputs/part/measured.csv")) == 1
