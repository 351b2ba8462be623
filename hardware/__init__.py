"""How fast a network runs, here. Importing this package imports no torch.

    from hardware import Meter
    with Meter("cpu") as meter:                       # or Meter("cpu", runtime="eager", threads=2, batch=8)
        rows = meter.measure([architecture, module], input_shape=(1, 3, 224, 224))

to a file    export, stitch (gated nets), int8, files (which of them)
run          setting (how), runtimes (the registry), onnx_runtimes, torch_runtimes
measure      meter (the face) -> subject -> job -> client | server -> session -> rounds -> estimate; references, history;
             latency (what comes out)
calm         lock, quiet, memory
say more     comparison, spread (a gated net over images), regime, breakdown, predictor and work, machine
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardware.errors import MeasureError as MeasureError
    from hardware.export import ExportError as ExportError
    from hardware.latency import Latency as Latency
    from hardware.meter import Meter as Meter
    from hardware.runtimes import RuntimeUnavailable as RuntimeUnavailable

_WHERE = {
    "ExportError": "export",
    "Latency": "latency",
    "MeasureError": "errors",
    "Meter": "meter",
    "RuntimeUnavailable": "runtimes",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hardware' has no attribute {name!r}")
    return getattr(import_module(f"hardware.{_WHERE[name]}"), name)
