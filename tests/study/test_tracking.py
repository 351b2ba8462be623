"""W&B runs as they lie on disk: grouped, configured, summed up; and none at all without a logger."""

import json
import struct
import subprocess
import sys

import pytest

import searchspace as ss
from study.tracking import NoTracker, WandbTracker, tracker
from study.trial import Candidate


class FakeSettings:
    name, seed = "demo", 3
    logger = {"name": "wandb", "mode": "offline", "project": "p", "entity": None}


def records(path):
    """The records of an offline run's log: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB that hold
    chunks (checksum 4, length 2, type 1: full, first, middle, last) of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        if kind == 0:
            break
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@pytest.mark.filterwarnings("ignore")
def test_a_run_a_trial(tmp_path):
    a = ss.anchor("skipnet_20-rnn")
    track = WandbTracker(FakeSettings, tmp_path)
    for number in (0, 1):
        run = track.trial(number, Candidate(a, "skipnet_20-rnn"), "anchor")
        run.log({"epoch": 1, "top1_val": 50.0})
        run.end({"top1_val": 51.5, "latency_ms": 0.25, "keep_rate": None})
    track.close()
    read = {}  # by name: two runs of one second lie in no order on disk
    for log in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        found = list(records(log))
        (run,) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
        read[run.display_name] = run, found
    assert sorted(read) == ["anchor-00000", "anchor-00001"]
    for run, found in read.values():
        config = {c.key: json.loads(c.value_json) for c in run.config.update}
        assert run.run_group == "demo" and run.job_type == "trial"
        assert config["id"] == a.id and ss.Architecture.from_dict(config["architecture"]) == a and config["seed"] == 3
        summary = {i.key: json.loads(i.value_json) for r in found for i in r.summary.update}
        assert summary["top1_val"] == 51.5 and summary["latency_ms"] == 0.25 and "keep_rate" not in summary


def test_no_logger_imports_nothing(tmp_path):
    settings = type("S", (FakeSettings,), {"logger": {"name": "none"}})
    track = tracker(settings, tmp_path)
    assert isinstance(track, NoTracker)
    track.trial(0, Candidate(ss.anchor("resnet_20")), "search").end({})
    code = "import study.worker, study.search, sys; print('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
    assert list(tmp_path.iterdir()) == []
