"""What makes two trainings, or two measurements, the same; and looking them up in the ledger by it (study/ledger.py).

A training is its net (the whole Architecture, of which the id is ten digits of the hash; a timm or torchvision module by name and
version), its recipe with all epochs and the precision, the pixels and labels it sees and how they are augmented, the seed, and
`trainer_code()`: the sources that decide what comes out, comments and docstrings left out, so that a change of the trainer cannot
serve old numbers, and nobody has to remember a version. Device, threads and library versions stay out, as in trainers/checkpoint.
py: they change the last digits, as another run on a GPU would. A net made by the user's own code (`package.module:function`,
blocks of a plug-in) is in no ledger: its code may change under the same name.

A latency is its net, the machine's fingerprint, the setting, the protocol and `hardware_code()`; of a gated net, whose decisions
are trained, also the training it belongs to. A value taken on a busy machine is handed on for gated nets only (and says that it
is busy): a static net is measured again in a moment, a gated one would have to be trained for it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hardware.latency import Latency
from hardware.machine import fingerprint_id
from hardware.spread import Spread
from searchspace.blocks import BLOCKS
from searchspace.classics import is_classic
from study.ledger import ACCURACY, LATENCY, Ledger
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from study.trial import Bench, Candidate

ROOT = Path(__file__).resolve().parent.parent
NETS = (*(f"searchspace/{n}.py" for n in ("architecture", "parts", "network", "blocks", "gates", "layers", "activations",
                                          "execution")),
        "searchspace/classics/*.py")  # fmt: skip
TRAINING = (*NETS, *(f"trainers/{n}.py" for n in ("supervised", "objectives", "loaders", "pixels", "data", "sources", "folders",
                                                  "judged")))  # fmt: skip
SAME_TOP1 = 0.05  # percent: what the same weights may give on the same images elsewhere, in another order of sums


class Reuse:
    """The ledger as the trials of one process see it."""

    def __init__(self, ledger: Ledger, bench: Bench):
        self.ledger, self.bench = ledger, bench
        self.data = of_data(bench.data, bench.settings.data)
        meter = bench.meter
        self.measuring = {
            "machine": fingerprint_id(meter.machine), "setting": meter.setting.to_dict(), "engine": meter.engine,
            "protocol": meter.protocol, "code": hardware_code(),
        }  # fmt: skip

    def training(self, candidate: Candidate, recipe: Recipe) -> dict[str, Any] | None:
        """What a row of kind accuracy is found by; None for a net that is kept in no ledger."""
        if (net := of_net(candidate)) is None:
            return None
        asked = {k: v for k, v in asdict(recipe).items() if k not in ("device", "threads")}
        return {"net": net, "resolution": self.bench.resolution(candidate), "recipe": asked, "data": self.data,
                "code": trainer_code()}  # fmt: skip

    def accuracy(
        self, candidate: Candidate, recipe: Recipe, until: int | None = None
    ) -> tuple[float, dict[str, Any], str] | None:
        """Val top-1 (percent) after `until` epochs (None: all of the recipe), the whole value, the study that trained it."""
        about = self.training(candidate, recipe)
        if about is None or (found := self.ledger.find(ACCURACY, about)) is None:
            return None
        top1 = found[0].get("curve", {}).get(str(until or recipe.epochs))
        return None if top1 is None else (float(top1), *found)

    def keep_accuracy(self, candidate: Candidate, recipe: Recipe, curve: Mapping[int, float], **more: Any) -> None:
        """`curve`: epoch -> val top-1; those of an earlier call stay."""
        if (about := self.training(candidate, recipe)) is not None:
            self.ledger.put(ACCURACY, about, {"curve": {str(e): v for e, v in curve.items()}, "torch": torch.__version__,
                                              "machine": self.measuring["machine"], **more})  # fmt: skip

    def _measured(self, candidate: Candidate, recipe: Recipe, until: int | None) -> dict[str, Any] | None:
        if (net := of_net(candidate)) is None:
            return None
        shape = list(self.bench.input_shape(candidate))
        about: dict[str, Any] = {"net": net, "input": shape, "classes": self.data["classes"], **self.measuring}
        if self.bench.meter.setting.precision == "int8":  # whose ranges come from these images
            about["data"] = self.data
        if candidate.gated:
            about |= {"training": self.training(candidate, recipe), "until": until or recipe.epochs}
        return about

    def latency(self, candidate: Candidate, recipe: Recipe, until: int | None = None) -> tuple[Latency, str] | None:
        """The latency measured for this net, and by which study. `recipe`, `until`: whose decisions a gated net makes."""
        about = self._measured(candidate, recipe, until)
        if about is None or (found := self.ledger.find(LATENCY, about)) is None:
            return None
        row, study = found
        if row["busy"] and not candidate.gated:
            return None
        return _latency(row), study

    def keep_latency(self, candidate: Candidate, latency: Latency, recipe: Recipe, until: int | None = None) -> None:
        if (about := self._measured(candidate, recipe, until)) is not None:
            self.ledger.put(LATENCY, about, asdict(latency))


def of_net(candidate: Candidate) -> Any:
    """A net as plain values; None for one that the user's own code makes."""
    if candidate.architecture is not None:
        ours = all(getattr(BLOCKS[b.family], "__module__", "") == "searchspace.blocks" for b in candidate.architecture.blocks)
        return candidate.architecture.to_dict() if ours else None
    library = candidate.net.partition(":")[0] if candidate.net.startswith(("timm:", "torchvision:")) else ""
    if library:
        try:
            return {"name": candidate.net, "version": version(library)}
        except PackageNotFoundError:
            return None
    return {"name": candidate.net} if is_classic(candidate.net) else None


def of_data(data: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Images and labels of train and val by content (streamed ones by path in the folder, size and date), and what is done to
    them. Of the test images nothing is looked at."""
    if hasattr(data, "train_files"):
        digest = _digest_of_files((data.train_files, data.val_files), Path(asked["path"]))
    else:
        digest = digest_of((*data.train, *data.val))
    return {"digest": digest, "classes": len(data.classes), "crop": data.crop, "flip": data.flip, "mean": list(data.mean),
            "std": list(data.std)}  # fmt: skip


def digest_of(tensors: Iterable[Tensor]) -> str:
    """Of values, shapes and types; about 1 GB/s."""
    found = hashlib.blake2b(digest_size=16)
    for t in tensors:
        found.update(f"{t.dtype}{tuple(t.shape)}".encode())
        found.update(t.contiguous().numpy().tobytes())
    return found.hexdigest()


def _digest_of_files(splits: Iterable[tuple[list[Path], Any]], root: Path) -> str:
    found = hashlib.blake2b(digest_size=16)
    for files, labels in splits:
        found.update(f"{len(files)};".encode())
        for file, label in zip(files, labels, strict=True):
            about = file.stat()
            found.update(f"{file.relative_to(root)}|{about.st_size}|{about.st_mtime_ns}|{label};".encode())
    return found.hexdigest()


@cache
def trainer_code() -> str:
    """Of the sources that decide what a training gives."""
    return code_digest(TRAINING)


@cache
def hardware_code() -> str:
    """Of the sources that decide what a measurement gives."""
    return code_digest((*NETS, "hardware/*.py"))


def code_digest(patterns: Iterable[str], root: Path = ROOT) -> str:
    """Sixteen digits that move when the code of these files does, and not with comments, docstrings or the layout."""
    found = hashlib.sha256()
    for file in sorted({f for pattern in patterns for f in root.glob(pattern)}):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                del body[0]  # the docstring
        found.update(f"{file.relative_to(root).as_posix()}\n{ast.unparse(tree)}\n".encode())
    return found.hexdigest()[:16]


def load_weights(net: nn.Module, folder: str | Path) -> str:
    """Fills `net` with the weights saved in nets/<id>; returns why not, empty when it did. safetensors: nothing is unpickled."""
    from safetensors.torch import load_model

    path = Path(folder) / "weights.safetensors"
    try:
        load_model(net, str(path))
    except Exception as error:  # gone, cut off, another net's: whatever it is, the answer is to train
        return f"{path} cannot be used ({' '.join(str(error).split())[:150]})"
    return ""


def _latency(row: Mapping[str, Any]) -> Latency:
    known = {k: v for k, v in row.items() if k in Latency.__dataclass_fields__}
    known["visits_ms"] = tuple(known.get("visits_ms") or ())
    if spread := known.get("spread"):
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spread.items()}
        known["spread"] = Spread(**plain)
    return Latency(**known)
