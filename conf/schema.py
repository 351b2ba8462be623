"""The typed keys of the four commands. Hydra refuses what is not here, or of another type; the yaml files pick the values.

`???` in the yaml of a group means that the key must be given. Units: epochs, pixels, milliseconds, shares in (0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

# OmegaConf 2.3 reads annotations at run time and knows Optional[...] best
# ruff: noqa: UP045


@dataclass
class Space:
    """Ranges of a search space; see searchspace/space.py. `plugins`: modules of your own that register blocks."""

    name: str = MISSING
    skeletons: list[str] = MISSING
    alphas: list[float] = MISSING
    activations: list[str] = MISSING
    resolutions: list[int] = MISSING
    families: list[str] = MISSING
    kernels: list[int] = MISSING
    expansions: list[int] = MISSING
    depths: list[int] = MISSING
    squeeze_excite: list[bool] = MISSING
    gates: list[str] = MISSING
    sharings: list[str] = MISSING
    skip_alphas: list[float] = MISSING
    min_map: int = 2
    plugins: list[str] = field(default_factory=list)


@dataclass
class Hardware:
    """Where and how latency is measured (hardware/setting.py). `rounds`: interleaved rounds a measurement begins with;
    `spread_s`: their least duration."""

    name: str = MISSING
    device: str = MISSING
    runtime: str = MISSING
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    channels_last: bool = True
    flush_l2: bool = False
    rounds: int = 6
    spread_s: float = 2.0


@dataclass
class Trainer:
    """The recipe but its epochs. `auto`: the sane value of the hardware (study/trial.py)."""

    name: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    warmup_epochs: float = MISSING
    label_smoothing: float = MISSING
    batch_size: int = MISSING
    precision: str = "auto"
    channels_last: bool = True
    threads: int = 1


@dataclass
class Hrl:
    """SkipNet's second stage (trainers/skipnet.py, study/training/stages.py). `skip_alpha`: null takes the net's own; `cost`:
    what a gate's reward is worth, one | macs | time (measured here)."""

    epochs: int = 5
    lr: float = MISSING
    gate_lr: float = 1.0
    skip_alpha: Optional[float] = None
    cost: str = "one"
    beta: float = 1.0
    weight: float = 0.01
    reduction: str = "sum"
    baseline: str = "none"
    sharpen: float = 1.0


@dataclass
class SkipTrainer(Trainer):
    """The recipe with SkipNet's second stage."""

    hrl: Hrl = field(default_factory=Hrl)


@dataclass
class Data:
    """A data set. `resolution`: of the anchors; `resolutions`: those the search may choose from; `crop`: pixels (of the set's
    own size) by which the augmentation shifts; `flip`: whether it mirrors; `max_latency_ms`: the budget where none is given."""

    name: str = MISSING
    path: Optional[str] = None
    fraction: float = 1.0
    resolution: int = MISSING
    resolutions: list[int] = MISSING
    crop: int = 0
    flip: bool = False
    max_latency_ms: Optional[float] = None


@dataclass
class Sampler:
    """How the next net is chosen; see study/samplers.py."""

    name: str = MISSING


@dataclass
class Logger:
    """W&B: `offline` writes under the output folder and sends nothing; `online` is your own word."""

    name: str = MISSING
    mode: str = "offline"
    project: str = "lean-convnet-search"
    entity: Optional[str] = None


@dataclass
class Finalists:
    """The full recipe's length and the number of seeds, the same for front and anchors."""

    epochs: int = 10
    seeds: int = 1


@dataclass
class Halving:
    """Successive halving by Pareto rank (study/rungs.py). `eta`: the best 1/eta of a rung go on, null: every net is trained in
    full; `rungs`: epochs of the rungs below the last, null: epochs/eta, epochs/eta^2, ...; `sample`: halted nets trained in full
    all the same, to see what halting cost; `seeds`: of each net on and near the front, from the epochs that were saved."""

    eta: Optional[float] = None
    rungs: Optional[list[int]] = None
    sample: int = 0
    seeds: int = 2


@dataclass
class Common:
    """What all four commands share."""

    name: str = MISSING
    seed: int = 0
    storage: Optional[str] = None


@dataclass
class Search(Common):
    """python search.py"""

    searchspace: Space = MISSING
    hardware: Hardware = MISSING
    trainer: Trainer = MISSING
    data: Data = MISSING
    sampler: Sampler = MISSING
    logger: Logger = MISSING
    n_trials: int = MISSING
    epochs: int = MISSING
    max_latency_ms: Optional[float] = None
    workers: Optional[int] = None
    worker: Optional[int] = None
    control: Optional[str] = None
    anchors: Any = MISSING
    finalists: Finalists = field(default_factory=Finalists)
    ledger: bool = True
    halving: Halving = field(default_factory=Halving)


@dataclass
class Train(Common):
    """python train.py"""

    net: str = MISSING
    init: Optional[str] = None
    control: Optional[str] = None
    hardware: Hardware = MISSING
    trainer: Trainer = MISSING
    data: Data = MISSING
    logger: Logger = MISSING
    epochs: int = MISSING


@dataclass
class Measure(Common):
    """python measure.py"""

    nets: Any = None
    resolution: Optional[int] = None
    max_ms: Optional[float] = None
    regime: bool = True
    blocks: bool = False
    hardware: Hardware = MISSING
    logger: Logger = MISSING


@dataclass
class Report:
    """python report.py"""

    name: Optional[str] = None
    storage: Optional[str] = None
    max_latency_ms: Optional[float] = None
    table: Optional[str] = None
    figure: Optional[str] = None
    logger: Logger = MISSING


SCHEMAS: dict[str, type] = {"search": Search, "train": Train, "measure": Measure, "report": Report}
GROUPS: dict[str, type] = {
    "searchspace": Space,
    "hardware": Hardware,
    "trainer": Trainer,
    "data": Data,
    "sampler": Sampler,
    "logger": Logger,
}


def register() -> None:
    """Tell Hydra: `schema_<command>` first in a command's defaults, `/schema/<group>@_here_` first in a group's."""
    store = ConfigStore.instance()
    for name, node in SCHEMAS.items():
        store.store(name=f"schema_{name}", node=node)
    for name, node in GROUPS.items():
        store.store(group="schema", name=name, node=node)
    store.store(group="schema", name="skip_trainer", node=SkipTrainer)
