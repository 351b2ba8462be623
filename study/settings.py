"""What a study is asked to do, as a frozen value: checked once, written beside the results, handed to every worker.

Two runs under one name go together when they agree in everything that numbers depend on (`differences`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hardware.runtimes import ABSENT, DEFAULTS, RUNTIMES, RuntimeUnavailable, make_runtime, setting_of
from searchspace.anchors import LISTS, UnknownNet
from searchspace.architecture import ArchitectureError
from searchspace.named import check, expand
from searchspace.space import SPACES, SearchSpace, named_space
from study.storing.secret import stored

# may differ when a study goes on: how many, by whom, and what is told of it
FREE = ("n_trials", "workers", "worker", "logger", "ledger")
MAX_SEED = 2**32 // 1000


class SettingsError(ValueError):
    """A setting that cannot be used: one line with the key, what is wrong and the cure."""


def _need(ok: bool, message: str) -> None:
    if not ok:
        raise SettingsError(message)


@dataclass(frozen=True)
class Settings:
    """A search. Groups are plain dictionaries with the keys of conf/schema.py."""

    name: str
    seed: int
    n_trials: int
    epochs: int
    max_latency_ms: float | None
    workers: int
    worker: int | None
    control: str | None
    storage: str | None
    anchors: tuple[str, ...]
    searchspace: dict[str, Any] = field(hash=False)
    hardware: dict[str, Any] = field(hash=False)
    trainer: dict[str, Any] = field(hash=False)
    data: dict[str, Any] = field(hash=False)
    sampler: dict[str, Any] = field(hash=False)
    logger: dict[str, Any] = field(hash=False)
    finalists: dict[str, Any] = field(hash=False)
    init: str | None = None  # of train.py: where a single net's weights begin
    ledger: bool = True
    halving: dict[str, Any] | None = field(default=None, hash=False)  # with its rungs written out (study/rungs.py)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Settings:
        """Checks what can be told without torch and data. SettingsError names the key."""
        from study.rungs import plan_of
        from study.samplers import SAMPLERS
        from study.workers import default_workers

        c = dict(config)
        check_seed(c["seed"])
        for key in ("n_trials", "epochs"):
            _need(c[key] >= 1, f"{key}={c[key]}: must be at least 1")
        for key in ("epochs", "seeds"):
            _need(c["finalists"][key] >= 1, f"finalists.{key}={c['finalists'][key]}: must be at least 1")
        budget = c["max_latency_ms"]
        _need(budget is None or budget > 0, f"max_latency_ms={budget}: must be above 0 milliseconds (null: no budget)")
        _need(c["workers"] is None or c["workers"] >= 1, f"workers={c['workers']}: must be at least 1")
        _need(c["worker"] is None or c["worker"] >= 0, f"worker={c['worker']}: must be at least 0 (0, 1, ... one a process)")
        _need(c["control"] in (None, "random", "macs"), f"control={c['control']}: must be random, macs or null")
        _need(bool(str(c["name"]).strip()), "name: must not be empty")
        _need(c["sampler"]["name"] in SAMPLERS, f"sampler={c['sampler']['name']}: must be one of {', '.join(SAMPLERS)}")
        check_hardware(c["hardware"])
        check_trainer(c["trainer"])
        name = c["trainer"]["name"]
        _need(name == "supervised", f"trainer={name}: train.py's; a search trains its gates jointly, with trainer=supervised")
        check_data(c["data"])
        check_logger(c["logger"])
        try:
            c["halving"] = plan_of(c["halving"], c["epochs"]) if c.get("halving") else None
        except ValueError as error:
            raise SettingsError(str(error)) from None
        anchors = check_nets("anchors", c["anchors"])
        settings = Settings(
            **{
                **{k: c[k] for k in Settings.__dataclass_fields__ if k in c},
                "anchors": anchors,
                "workers": c["workers"] or default_workers(c["hardware"]["device"]),
            }
        )
        settings.space(classes=2, in_channels=1)
        return settings

    def space(self, classes: int, in_channels: int) -> SearchSpace:
        """The search space with these ranges on data of that kind."""
        ranges: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in self.searchspace.items() if k not in ("name", "plugins")
        }
        import_plugins(self.searchspace["plugins"])
        try:
            base = (
                named_space(self.searchspace["name"])
                if self.searchspace["name"] in SPACES
                else SearchSpace(name=self.searchspace["name"])
            )
            return replace(base, classes=classes, in_channels=in_channels, **ranges)
        except ArchitectureError as error:
            raise SettingsError(str(error)) from None

    def to_json(self) -> str:
        """Fit for files: without the storage's password."""
        told = {**asdict(self), "storage": self.storage and stored(self.storage)}
        return json.dumps(told, indent=1, sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.to_json())
        return made

    @staticmethod
    def read(path: str | Path) -> Settings:
        """Inverse of `to_json`."""
        data = json.loads(Path(path).read_text())
        return Settings(**{**data, "anchors": tuple(data["anchors"])})

    def differences(self, before: Mapping[str, Any], but: tuple[str, ...] = ()) -> list[str]:
        """What differs from the settings of an earlier run, as `key: before → now`, but for what may (and for `but`)."""
        now = self.to_dict()
        if "hardware" in before and "precision" not in before["hardware"]:
            return ["latencies: an older version's protocol → this one's, whose values do not compare"]
        lines = []
        for key in sorted(now):
            if key in FREE or key in but:
                continue
            old, new = before.get(key), now[key]
            if isinstance(new, dict) and isinstance(old, dict):
                lines += [f"{key}.{k}: {old.get(k)} → {new.get(k)}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
            elif old != new:
                lines.append(f"{key}: {old} → {new}")
        if now["n_trials"] < before.get("n_trials", 0):
            lines.append(f"n_trials: {before['n_trials']} → {now['n_trials']} (it may only grow)")
        return lines


def check_seed(seed: int) -> None:
    """Samplers take 32 bits, of which each worker has its own thousandth."""
    _need(0 <= seed < MAX_SEED, f"seed={seed}: must be a whole number from 0 to {MAX_SEED - 1}")


def check_nets(key: str, nets: Any) -> tuple[str, ...]:
    """The nets of `anchors=` or `nets=`; SettingsError with the nearest names."""
    if nets is None:
        return ()
    _need(isinstance(nets, str) or (isinstance(nets, list) and all(isinstance(n, str) for n in nets)),
          f"{key}: must be a list of nets like [mobilenet_v1-0.25, skipnet_20-rnn] or one of {', '.join(LISTS)}")  # fmt: skip
    names = expand(nets)
    for name in names:
        try:
            check(name)
        except (UnknownNet, ArchitectureError) as error:
            raise SettingsError(f"{key}: {error}") from None
    return tuple(names)


def check_hardware(hardware: Mapping[str, Any]) -> None:
    """Threads, batch, runtime; a GPU that is not there."""
    for key in ("threads", "batch", "rounds"):
        _need(hardware[key] >= 1, f"hardware.{key}={hardware[key]}: must be at least 1")
    _need(hardware["spread_s"] >= 0, f"hardware.spread_s={hardware['spread_s']}: must be at least 0 seconds")
    if hardware["device"] == "cuda":
        import torch  # only a GPU needs it this early

        _need(torch.cuda.is_available(), "hardware=gpu: torch sees no CUDA GPU on this machine; use hardware=cpu")
    device, runtime = hardware["device"], hardware["runtime"]
    _need(device in DEFAULTS, f"hardware.device={device}: must be cpu or cuda")
    _need(runtime not in ABSENT, f"hardware.runtime={runtime}: {ABSENT.get(runtime, '')}")
    _need(runtime in RUNTIMES, f"hardware.runtime={runtime}: must be one of {', '.join(RUNTIMES)}")
    try:
        make_runtime(setting_of(hardware))
    except RuntimeUnavailable as error:
        field = "precision" if "precision=" in str(error) else "runtime"
        raise SettingsError(f"hardware.{field}={hardware.get(field)}: {error}") from None


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Ranges of the recipe."""
    for key in ("lr", "batch_size", "threads"):
        _need(trainer[key] > 0, f"trainer.{key}={trainer[key]}: must be above 0")
    for key in ("momentum", "label_smoothing"):
        _need(0 <= trainer[key] < 1, f"trainer.{key}={trainer[key]}: must be in [0, 1)")
    for key in ("weight_decay", "warmup_epochs"):
        _need(trainer[key] >= 0, f"trainer.{key}={trainer[key]}: must be at least 0")
    known = ("auto", "32-true", "bf16-mixed", "16-mixed")
    _need(trainer["precision"] in known, f"trainer.precision={trainer['precision']}: must be one of {', '.join(known)}")


def check_data(data: Mapping[str, Any]) -> None:
    """Share, paths, resolutions."""
    _need(0 < data["fraction"] <= 1, f"data.fraction={data['fraction']}: must be in (0, 1]")
    _need(data["resolution"] >= 1, f"data.resolution={data['resolution']}: must be at least 1 pixel")
    _need(data["crop"] >= 0, f"data.crop={data['crop']}: must be at least 0 pixels")
    if data["name"] in ("npz", "imagefolder"):
        _need(bool(data["path"]), f"data.path: data={data['name']} needs it, as in data.path=/where/it/is")
    if data["path"]:
        _need(Path(data["path"]).exists(), f"data.path={data['path']}: there is no such file or folder")


def check_logger(logger: Mapping[str, Any]) -> None:
    """Whether anything may leave the machine is the user's own word."""
    _need(logger["mode"] in ("offline", "online"), f"logger.mode={logger['mode']}: must be offline or online")


def import_plugins(modules: list[str]) -> None:
    """Modules of the user's that register blocks of their own."""
    import importlib
    import sys

    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # the user's module may raise anything
            why = " ".join(str(error).split())[:200]
            raise SettingsError(f"searchspace.plugins: {module} cannot be imported ({type(error).__name__}: {why})") from None
