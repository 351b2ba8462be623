"""What a measuring process is given: one net each, as plain values and arrays.

A net travels as an ONNX file, as an Architecture's dictionary with weights, or as a name that the other process resolves; a
module that is none of these stays in the process that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

PROBED = 4  # calls whose logits are compared with torch's before the clock starts


@dataclass
class Job:
    """A net to measure at `shape` (N, C, H, W). `pixels`: (n, C, H, W) raw, the images of a gated net or one batch; `logits`
    (and `kept` of a gated net): torch's answer to the first of them, PROBED calls. Of `onnx`, `architecture` (with the path of
    its `weights`, else settled random ones), `named` and `module` one is there."""

    name: str
    shape: tuple[int, int, int, int]
    gated: bool
    pixels: np.ndarray
    logits: np.ndarray
    kept: np.ndarray | None = None
    onnx: bytes | None = None
    architecture: dict[str, Any] | None = None
    weights: str | None = None
    named: str | None = None
    module: nn.Module | None = None
    mean: Any = None
    std: Any = None
    imports: tuple[str, ...] = ()  # modules that register the block families that this architecture is made of

    def write(self, folder: Path, stem: str) -> dict[str, Any]:
        """Puts the arrays into `folder`; returns the rest, as JSON can hold it."""
        found: dict[str, Any] = {"name": self.name, "shape": list(self.shape), "gated": self.gated}
        for key in ("pixels", "logits", "kept"):
            if (array := getattr(self, key)) is not None:
                path = folder / f"{stem}-{key}.npy"
                np.save(path, array)
                found[key] = str(path)
        if self.onnx is not None:
            path = folder / f"{stem}.onnx"
            path.write_bytes(self.onnx)
            found["onnx"] = str(path)
        for key in ("architecture", "weights", "named", "imports"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        for key in ("mean", "std"):
            if (value := getattr(self, key)) is not None:
                found[key] = np.asarray(value, dtype=float).ravel().tolist()
        return found

    @staticmethod
    def read(found: dict[str, Any]) -> Job:
        """The job that `write` wrote."""
        arrays = {key: np.load(found[key], allow_pickle=False) for key in ("pixels", "logits", "kept") if key in found}
        onnx = Path(found["onnx"]).read_bytes() if "onnx" in found else None
        rest = {key: found[key] for key in ("architecture", "weights", "named", "mean", "std", "imports") if key in found}
        return Job(found["name"], tuple(found["shape"]), found["gated"], **arrays, onnx=onnx, **rest)
