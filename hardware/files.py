"""The ONNX file of a net in the precision that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hardware.export import Stats, to_onnx
from hardware.machine import has_vnni

if TYPE_CHECKING:
    from torch import nn


def onnx_file(
    module: nn.Module, shape: Sequence[int], precision: str, mean: Stats = None, std: Stats = None, images: Any = None
) -> bytes:
    """fp32, or int8 with ranges from `images` (n >= 16, C, H, W), raw pixels at the net's size. Raises ExportError."""
    made = to_onnx(module, shape, mean, std)
    if precision == "int8":
        from hardware.int8 import quantised

        made = quantised(made, images, has_vnni())
    return made
