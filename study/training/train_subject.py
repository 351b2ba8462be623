"""What `train.py` is asked to train: the net under its name, the stages it goes through, of which net it is a control.
Everything that can be refused is refused here, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hardware.export import ExportError
from hardware.meter import Meter
from hardware.runtimes import RuntimeUnavailable, runtime_skips
from searchspace import card
from searchspace.anchors import UnknownNet
from searchspace.architecture import ArchitectureError
from searchspace.named import does_not_fit
from searchspace.network import Network
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
from study.training.controls import control_of
from study.training.pretrained import begun_from
from study.training.stages import Stage, check_stages, stages_of, with_skip_alpha
from study.trial import Bench, Candidate
from trainers.data import DataError, load
from trainers.objectives import Objective
from trainers.skipnet import RandomSkips


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Checks what can be told without torch and data."""
    if config["epochs"] < 1:
        raise SettingsError(f"epochs={config['epochs']}: must be at least 1")
    if config["init"] not in (None, "timm"):
        raise SettingsError(f"init={config['init']}: must be timm or null")
    for check, key in ((check_hardware, "hardware"), (check_trainer, "trainer"), (check_data, "data"), (check_logger, "logger")):
        check(config[key])
    check_stages(config["trainer"])
    names = check_nets("net", config["net"])
    if len(names) != 1:
        raise SettingsError(f"net={config['net']}: names {len(names)} nets; train.py trains one")
    check_seed(config["seed"])
    return Settings(
        name=config["name"], seed=config["seed"], n_trials=0, epochs=config["epochs"], max_latency_ms=None, workers=1,
        worker=None, control=config["control"], storage=None, anchors=names, searchspace={"name": "mobile", "plugins": []},
        hardware=config["hardware"], trainer=config["trainer"], data=config["data"], sampler={"name": "random"},
        logger=config["logger"], finalists={"epochs": config["epochs"], "seeds": 1}, init=config["init"],
    )  # fmt: skip


@dataclass
class Subject:
    """What is trained: the net under its name, in its stages; of which net it is a control."""

    name: str
    candidate: Candidate
    net: nn.Module
    stages: list[Stage]
    of: str | None = None


def subject_of(settings: Settings, folder: Path) -> tuple[Bench, Subject]:
    """Everything that can be refused before anything is written."""
    d, name, trainer = settings.data, settings.anchors[0], settings.trainer
    try:
        data = load(d["name"], path=d["path"], fraction=d["fraction"], crop=d["crop"], flip=d["flip"], with_test=True)
        meter = Meter.of(settings.hardware)
        bench = Bench(settings, data, meter)
        found = bench.candidate(name)
        recipe = bench.recipe(settings.epochs, settings.seed)
        known = _known_as(name)
        of = None
        if settings.control is not None:
            control = control_of(settings.control, name)
            kind = f"{known}, {'static twin' if control.kind == 'static' else 'random skipping'}"
            candidate, of = Candidate(control.architecture, kind), control.of
            objective = RandomSkips(control.keep) if control.kind == "random" else Objective()
            stages = [Stage(control.kind, objective, recipe, "last.ckpt")]
        else:
            architecture = found.architecture and with_skip_alpha(found.architecture, trainer)
            candidate = Candidate(architecture, known)
            stages = stages_of(trainer, architecture, recipe, folder, meter)
        # a checkpoint's weights come over these, and a hub may be gone by then
        anew = settings.init and not any((folder / stage.checkpoint).exists() for stage in stages)
        net = begun_from(str(settings.init), name, candidate, bench) if anew else bench.make(candidate, settings.seed)
        if trainer["name"] == "skipnet_hrl" and of is None:
            net.load_state_dict(_first_stage(name).state_dict())
    except DataError as error:
        raise SettingsError(str(error)) from None
    except UnknownNet as error:
        raise SettingsError(f"net: {error}") from None
    except (ArchitectureError, card.CardError) as error:
        raise SettingsError(f"net: {name}: {error}") from None
    except (ExportError, OSError) as error:  # the meter's reference nets are written to the temporary folder
        raise SettingsError(f"hardware: measuring cannot begin ({' '.join(str(error).split())[:150]})") from None
    except RuntimeUnavailable as error:
        raise SettingsError(f"hardware.runtime={settings.hardware['runtime']}: {error}") from None
    if problem := does_not_fit(net, data.channels, bench.resolution(candidate), len(data.classes)):
        raise SettingsError(f"net: {name} {problem}")
    if candidate.gated and not runtime_skips(settings.hardware):
        raise SettingsError(
            f"hardware.runtime={settings.hardware['runtime']}: cannot skip the blocks of {name}; use another runtime"
        )
    return bench, Subject(known, candidate, net, stages, of)


def _known_as(name: str) -> str:
    """What people call the net: of a saved one the name on its card."""
    path = Path(name) / "card.json"
    return (json.loads(path.read_text()).get("net") or name) if path.is_file() else name


def _first_stage(name: str) -> Network:
    if not Path(name).is_dir():
        raise SettingsError(
            "trainer=skipnet_hrl: goes on from a trained net, net=outputs/NAME/nets/ID; for both stages use trainer=skipnet"
        )
    return card.load(name)
