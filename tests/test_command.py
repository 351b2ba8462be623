"""Wrong input: one line that names the key and the cure, exit code 2, no traceback, nothing left behind."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / f"{script}.py"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**{k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"}, "NETRC": str(cwd / "none")},
    )  # fmt: skip


def npz(path, **changes):
    arrays = {
        "x_train": np.zeros((40, 8, 8, 1), np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": np.zeros((8, 8, 8, 1), np.uint8),
        "y_test": np.arange(8) % 4,
        **changes,
    }
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


WRONG = [
    (["hardware=tpu"], ["hardware=tpu", "cpu, gpu"]),
    (["n_trial=3"], ["n_trial", "n_trials"]),
    (["data.pth=x"], ["data.pth", "data.path"]),
    (["n_trials=many"], ["n_trials", "many"]),
    (["n_trials=0"], ["n_trials=0", "at least 1"]),
    (["experiment=foo"], ["experiment=foo", "fashion_mnist"]),
    (["logger=null"], ["logger=null", "none, wandb"]),
    (["sampler="], ["sampler=", "pareto_gp"]),
    (["halving.eta=inf"], ["halving.eta=inf", "finite"]),
    (["max_latency_ms=nan"], ["max_latency_ms=nan", "finite"]),
    (["max_latency_ms=-1"], ["max_latency_ms=-1", "above 0"]),
    (["data=npz", "data.path=/nowhere/x.npz"], ["data.path=/nowhere/x.npz", "no such"]),
    (["data=npz"], ["data.path"]),
    (["data.fraction=0"], ["data.fraction=0"]),
    (["storage=study.txt"], ["storage=study.txt", "sqlite:///"]),
    (["anchors=[mobilnet_v1]"], ["anchors", "mobilnet_v1", "mobilenet_v1"]),
    (["anchors=[mobilenet_v1-rnn]"], ["anchors", "gate", "shortcut"]),
    (["anchors=[timm:mobilnetv2_100]"], ["anchors", "mobilnetv2_100", "mobilenetv2_100"]),
    (["anchors=[torchvision:alexnett]"], ["anchors", "alexnett", "alexnet"]),
    (["anchors=[no_such_module:make]"], ["anchors", "no_such_module"]),
    (["anchors=[outputs/x/nets/a1]"], ["anchors", "outputs/x/nets/a1", "no such folder"]),
    (["sampler=cma"], ["sampler=cma", "tpe"]),
    (["searchspace.depths=[]"], ["searchspace.depths"]),
    (["searchspace.families=[ghost]"], ["searchspace.families", "ghost", "separable"]),
    (["hardware.runtime=tensorrt"], ["hardware.runtime=tensorrt", "onnxruntime"]),
    (["workers=0"], ["workers=0"]),
    (["logger.mode=online"], ["logger.mode=online", "wandb login", "logger.mode=offline"]),
    (["control=sgd"], ["control=sgd", "random"]),
    (["searchspace.plugins=[no_such_module]"], ["searchspace.plugins", "no_such_module"]),
    (["finalists.seeds=0"], ["finalists.seeds=0"]),
    (["seed=-1"], ["seed=-1", "from 0"]),
    (["worker=-1"], ["worker=-1"]),
    (["--nope"], ["--nope", "--help"]),
    (["n_trials"], ["'n_trials'", "KEY=VALUE"]),
    (["name="], ["name", "empty"]),
    (["searchspace.kernels=[2]"], ["searchspace.kernels", "odd"]),
    (["data.fraction=0.001"], ["data.fraction", "too few"]),
    (["anchors=[torchvision:alexnet]"], ["anchors", "torchvision:alexnet", "1 x 16 x 16"]),
    (["anchors=[math:sqrt]"], ["anchors", "math:sqrt", "TypeError"]),
    (["anchors=[resnet_21]"], ["anchors", "resnet_21", "6n+2"]),
    (["hardware.runtime=compiled"], ["anchors", "skipnet_20-rnn", "hardware.runtime=compiled"]),
    (["hardware.runtime=compiled", "anchors=none"], ["hardware.runtime=compiled", "searchspace.gates=[none]"]),
    (["searchspace=mobile", "-m", "seed=0,1", "n_trials=0"], ["n_trials=0"]),
    (["-m", "n_trials=1,2"], ["name", "name=search-${n_trials}"]),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_wrong_input(arguments, said, tmp_path):
    done = run("search", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ") and done.stdout == ""
    for word in said:
        assert word in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_gpu_without_cuda(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    done = run("search", "hardware=gpu", cwd=tmp_path)
    assert (
        done.returncode == 2 and "hardware=gpu" in done.stderr and "hardware=cpu" in done.stderr and done.stderr.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_test": None}, "y_test"),
        ({"x_train": np.zeros((40, 8, 8), np.uint8)}, "x_train"),
        ({"x_train": np.zeros((40, 8, 8, 1), np.float32)}, "x_train"),
        ({"x_test": np.zeros((8, 9, 8, 3), np.uint8)}, "x_test"),
        ({"y_train": np.arange(39) % 4}, "y_train"),
    ],
)
def test_npz_without_the_keys_or_with_wrong_shapes(changes, said, tmp_path):
    path = npz(tmp_path / "mine.npz", **changes)
    done = run("search", "data=npz", f"data.path={path}", cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "data.path" in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_storage_that_is_no_database_stays_as_it_is(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("my notes\n")
    done = run("search", f"storage=sqlite:///{path}", cwd=tmp_path)
    assert (
        done.returncode == 2
        and "storage" in done.stderr
        and "not an SQLite database" in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert path.read_text() == "my notes\n" and list(tmp_path.iterdir()) == [path]


def test_a_database_of_the_users_own_stays_as_it_is(tmp_path):
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("create table customers (name text)")
        db.commit()
    before = path.read_bytes()
    done = run("search", f"storage=sqlite:///{path}", cwd=tmp_path)
    assert done.returncode == 2 and "customers" in done.stderr and done.stderr.count("\n") == 1
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_bad_nets_are_a_line_each_and_the_others_are_measured(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\ndef grey(): return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten())\n"
        "def broken(): raise ValueError('no weights')\n"
    )
    nets = "nets=[mine:grey,mine:broken,mobilnet_v1,mobilenet_v1-0.25-rnn]"
    for _ in range(2):  # the second run keeps what the first one measured
        done = run("measure", nets, "resolution=16", "hardware.spread_s=0", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 3, done.stderr
    for line, words in zip(done.stderr.splitlines(), (["mine:broken", "no weights"], ["mobilenet_v1"], ["-rnn", "shortcut"])):
        assert line.startswith("error: nets: ") and all(word in line for word in words)
    rows = (tmp_path / "outputs/measure-cpu/measure.csv").read_text().splitlines()
    assert len(rows) == 3 and all(r.startswith("mine:grey,") for r in rows[1:])


@pytest.mark.parametrize("net", ["small", "none", "torchvision:alexnet"])
def test_train_refuses_before_it_makes_a_folder(net, tmp_path):
    done = run("train", f"net={net}", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "net" in done.stderr and list(tmp_path.iterdir()) == []


def test_the_jobs_of_a_sweep_may_share_a_name_by_worker_alone():
    from conf.command import InputError, _check_sweep
    from conf.schema import register

    register()
    _check_sweep("search", ["worker=0,1", "seed=0,1", "hardware=cpu"])
    with pytest.raises(InputError, match="4 of the 4 jobs would share 'x'"):
        _check_sweep("search", ["worker=0,1", "epochs=1,2", "name=x"])
    _check_sweep("measure", ["name=x", "hardware.threads=1,2"])  # a study's nets, a setting a job
    with pytest.raises(InputError, match="2 of the 2 jobs would share 'x'"):
        _check_sweep("measure", ["name=x", "nets=small", "hardware.threads=1,2"])
    with pytest.raises(InputError, match="2 of the 2 jobs would share 'measure-cpu'"):
        _check_sweep("measure", ["hardware.threads=1,2"])


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    mine = tmp_path / "outputs" / "demo" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = run("search", "name=demo", cwd=tmp_path)
    assert done.returncode == 2 and "name=demo" in done.stderr and done.stderr.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]


@pytest.mark.parametrize("script", ["measure", "report", "train"])
def test_the_other_commands_refuse_in_the_same_way(script, tmp_path):
    key = {"measure": "nets=[timm:mobilnetv2_100]", "report": "name=never_made", "train": "net=mobilnet_v1"}[script]
    done = run(script, key, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_lists_no_study(tmp_path):
    done = run("report", cwd=tmp_path)
    assert done.returncode == 0 and "no study" in done.stdout and list(tmp_path.iterdir()) == []
