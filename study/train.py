"""`train.py`: one network by the full recipe, tested once, measured and saved as nets/<id>. Goes on from its checkpoint.

The checkpoint (last.ckpt in the output folder) is written every epoch, whole or not at all, and read without unpickling.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from hardware.errors import MeasureError
from hardware.export import ExportError
from hardware.meter import Meter
from hardware.runtimes import RuntimeUnavailable, runtime_skips
from searchspace import card
from searchspace.anchors import UnknownNet
from searchspace.architecture import ArchitectureError
from searchspace.named import does_not_fit
from searchspace.network import Network
from study.final_session import int8_accuracy, latency_row, update_card
from study.finalists import save
from study.folder import put, refuse_other_settings, remember
from study.settings import (
    Settings,
    SettingsError,
    check_data,
    check_hardware,
    check_logger,
    check_nets,
    check_seed,
    check_trainer,
)
from study.tracking import check_login, tracker
from study.trial import Bench
from trainers.data import DataError, load
from trainers.supervised import CheckpointError, evaluate


def train(config: Mapping[str, Any], folder: Path) -> Path:
    """Trains `net` and returns the folder it is saved in. SettingsError for what cannot be used."""
    if config["epochs"] < 1:
        raise SettingsError(f"epochs={config['epochs']}: must be at least 1")
    if config["init"] not in (None, "timm"):
        raise SettingsError(f"init={config['init']}: must be timm or null")
    for check, key in ((check_hardware, "hardware"), (check_trainer, "trainer"), (check_data, "data"), (check_logger, "logger")):
        check(config[key])
    names = check_nets("net", config["net"])
    if len(names) != 1:
        raise SettingsError(f"net={config['net']}: names {len(names)} nets; train.py trains one")
    name = names[0]
    check_seed(config["seed"])
    settings = Settings(
        name=config["name"],
        seed=config["seed"],
        n_trials=0,
        epochs=config["epochs"],
        max_latency_ms=None,
        workers=1,
        worker=None,
        control=None,
        storage=None,
        anchors=(name,),
        searchspace={"name": "mobile", "plugins": []},
        hardware=config["hardware"],
        trainer=config["trainer"],
        data=config["data"],
        sampler={"name": "random"},
        logger=config["logger"],
        finalists={"epochs": config["epochs"], "seeds": 1},
        init=config["init"],
    )
    check_login(settings.logger)
    refuse_other_settings(settings, folder, "a training")
    d, h = settings.data, settings.hardware
    try:
        data = load(d["name"], path=d["path"], fraction=d["fraction"], crop=d["crop"], flip=d["flip"], with_test=True)
        meter = Meter.of(h)
        bench = Bench(settings, data, meter)
        candidate = bench.candidate(name)
        net = (
            bench.make(candidate, settings.seed)
            if config["init"] is None
            else _pretrained(name, len(data.classes), data.channels)
        )
    except DataError as error:
        raise SettingsError(str(error)) from None
    except UnknownNet as error:
        raise SettingsError(f"net: {error}") from None
    except (ArchitectureError, card.CardError) as error:
        raise SettingsError(f"net: {name}: {error}") from None
    except RuntimeUnavailable as error:
        raise SettingsError(f"hardware.runtime={h['runtime']}: {error}") from None
    if problem := does_not_fit(net, data.channels, bench.resolution(candidate), len(data.classes)):
        raise SettingsError(f"net: {name} {problem}")
    if candidate.gated and not runtime_skips(h):
        raise SettingsError(f"hardware.runtime={h['runtime']}: cannot skip the blocks of {name}; use another runtime")
    console = Console()
    target = folder / "nets" / candidate.id
    if (target / "card.json").exists() and json.loads((target / "card.json").read_text())["latency"] is not None:
        console.print(f"{name} is trained already; remove {folder} to begin again", highlight=False, soft_wrap=True)
        return target
    remember(settings, folder)
    curve: list[tuple[int, float]] = _read_curve(folder / "curve.csv")
    if curve:
        console.print(f"Going on after epoch {curve[-1][0]} of {settings.epochs}", highlight=False)
    run = tracker(settings, folder).trial(0, candidate, "train")

    def on_epoch(epoch: int, top1: float) -> None:
        curve[:] = [*(c for c in curve if c[0] < epoch), (epoch, top1)]
        put(folder / "curve.csv", "epoch,top1_val\n" + "".join(f"{e},{t}\n" for e, t in curve))
        console.print(f"epoch {epoch}/{settings.epochs}  val top-1 {top1:.2f} %", highlight=False)
        run.log({"epoch": epoch, "top1_val": top1})

    recipe = bench.recipe(settings.epochs, settings.seed)
    found: dict[str, Any] = {}
    try:
        trained = bench.fit(candidate, net, recipe, on_epoch, checkpoint=folder / "last.ckpt")
        x, y = data.open_test(candidate.id, settings.seed, bench.resolution(candidate))
        top1_test, _ = evaluate(net, x, y, data, bench.resolution(candidate), device=recipe.device)
        found = {
            "top1_val": trained.top1_val,
            "top1_test": top1_test,
            "test_n": len(y),
            "keep_rate": trained.keep_rate,
            "epochs": recipe.epochs,
        }
        found["onnx_parity"] = save(candidate, net, bench, folder, found, settings.seed)
        measured = bench.latency(candidate, card.load(target) if isinstance(net, Network) else net, deployed=True)
        found_here = latency_row(measured) | (int8_accuracy(bench, target) if measured.precision == "int8" else {})
        found |= found_here
        update_card(target, found_here)
    except (MeasureError, ExportError) as error:
        raise SettingsError(f"net: {name} is trained, but cannot be exported or measured: {error}") from None
    except CheckpointError as error:
        raise SettingsError(f"name={settings.name}: {error}") from None
    except FloatingPointError as error:
        raise SettingsError(f"trainer.lr={recipe.lr}: {error}; the last good checkpoint is {folder / 'last.ckpt'}") from None
    finally:
        run.end(found)
    console.print(
        f"{name}: test top-1 {top1_test:.2f} % ({len(y)} images), val {trained.top1_val:.2f} %, {measured.latency_ms:.3f} ms "
        f"[{measured.low_ms:.3f}, {measured.high_ms:.3f}]; "
        f"ONNX differs from torch by {found['onnx_parity']:.1e} of the largest logit{_in_int8(found)}",
        highlight=False,
        soft_wrap=True,
    )
    return target


def _in_int8(found: dict[str, Any]) -> str:
    if "top1_val_int8" not in found:
        return ""
    return f"; val top-1 in int8 {found['top1_val_int8']:.2f} % where fp32 has {found['top1_val_fp32']:.2f} %"


def _pretrained(name: str, classes: int, channels: int) -> Any:
    if not name.startswith("timm:"):
        raise SettingsError(f"init=timm: {name} is not one of timm's nets; write net=timm:NAME")
    import timm

    try:
        return timm.create_model(name[5:], pretrained=True, num_classes=classes, in_chans=channels)
    except Exception as error:  # no network, no such weights, a changed hub: whatever a download can end in
        raise SettingsError(
            f"init=timm: the weights of {name} cannot be had here ({' '.join(str(error).split())[:150]}); use init=null"
        ) from None


def _read_curve(path: Path) -> list[tuple[int, float]]:
    if not path.exists():
        return []
    with open(path) as file:
        return [(int(r["epoch"]), float(r["top1_val"])) for r in csv.DictReader(file)]
