"""One network, many ways to run it: a small class each, in onnx_runtimes.py and torch_runtimes.py.

    runtime = make_runtime(Setting("cpu", "onnxruntime"))  # RuntimeUnavailable where it cannot
    runtime.prepare(net, (1, 3, 32, 32), mean, std)
    x = runtime.load(pixels)                              # numpy (N, C, H, W), raw 0..255; outside the clock
    with runtime.ready(): out = runtime.run(x)            # what is timed
    logits, kept = runtime.read(out)                      # numpy; kept (N, gates) or None

Measured on two Zen 4 cores: eager ranks nets otherwise than a deployed engine does (tau 0.82 with ONNX
Runtime), so ONNX Runtime is the default on the CPU; torch.compile takes 5-28 s a net. CUDA: events around
blocks of calls of about 5 ms; whatever stands here for CUDA was NOT RUN by its writer, who had no GPU.

Importing this imports neither torch nor an engine: the process that measures ONNX files stays small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from hardware.setting import Setting

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Clock = Callable[[], float]


class RuntimeUnavailable(RuntimeError):
    """This runtime cannot run here, or not this kind of net; the text is one line with the cure."""


class Runtime(ABC):
    """One prepared network. `skips`: whether a gated net runs, its skipped blocks truly not run; `from_file`: whether what is
    prepared is an ONNX file (`open`); `precisions`: by kind of device."""

    name: ClassVar[str] = ""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("fp32",)}
    skips: ClassVar[bool] = True
    from_file: ClassVar[bool] = False

    def __init__(self, setting: Setting):
        kind = setting.device.partition(":")[0]
        if kind not in self.devices:
            others = ", ".join(name for name, made in RUNTIMES.items() if kind in made().devices)
            raise RuntimeUnavailable(f"{self.name} does not run on {setting.device}: use {others or 'the cpu'}")
        offered = self.precisions[kind]
        if setting.precision not in offered:
            raise RuntimeUnavailable(f"{self.name} runs no {setting.precision} on {kind}: use precision={' or '.join(offered)}")
        if kind == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise RuntimeUnavailable("there is no CUDA device here: use the cpu")
        self.setting, self.on_cuda = setting, kind == "cuda"

    def prepare(
        self, module: nn.Module, input_shape: Sequence[int], mean: Any = None, std: Any = None, images: Any = None
    ) -> None:
        """Make ready to run `module` on (N, C, H, W) raw pixels; the module itself stays untouched. `images`: (n, C, H, W) raw
        pixels, for a precision that is calibrated."""
        gates = getattr(module, "gates", None)
        if gates is not None and len(gates) > 0 and not self.skips:
            kind = "cuda" if self.on_cuda else "cpu"
            skipping = " or ".join(n for n, made in RUNTIMES.items() if made().skips and kind in made().devices)
            raise RuntimeUnavailable(f"{self.name} cannot skip the blocks of a gated net: use runtime={skipping}")
        self._prepare(module, tuple(input_shape), mean, std, images)

    @abstractmethod
    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Any, std: Any, images: Any) -> None:
        """`prepare` of a net that this runtime can run."""

    def open(self, onnx_bytes: bytes) -> None:
        """Make ready to run an ONNX file of hardware/export.py (of runtimes that are `from_file`)."""
        raise RuntimeUnavailable(f"{self.name} runs modules, not ONNX files")

    @abstractmethod
    def load(self, pixels: np.ndarray) -> Any:
        """What `run` takes, made outside the clock."""

    @abstractmethod
    def run(self, x: Any) -> Any:
        """One inference."""

    @abstractmethod
    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (N, classes) and decisions (N, gates) or None."""

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Thread count and grad mode while running, set once around many calls; as before afterwards."""
        yield

    def timed_ms(self, x: Any, clock: Clock) -> float:
        """Milliseconds of one inference."""
        start = clock()
        self.run(x)
        return (clock() - start) * 1e3

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of the library that computes."""


def _lazy(module: str, name: str) -> Callable[[], type[Runtime]]:
    return lambda: getattr(import_module(f"hardware.{module}"), name)  # type: ignore[no-any-return]


RUNTIMES: dict[str, Callable[[], type[Runtime]]] = {
    "onnxruntime": _lazy("onnx_runtimes", "OnnxRuntime"),
    "openvino": _lazy("onnx_runtimes", "OpenVino"),
    "eager": _lazy("torch_runtimes", "Eager"),
    "compiled": _lazy("torch_runtimes", "Compiled"),
    "cuda_graph": _lazy("torch_runtimes", "CudaGraph"),
}
DEFAULTS = {"cpu": "onnxruntime", "cuda": "cuda_graph"}
ABSENT = {"tensorrt": "TensorRT is not among the runtimes: use onnxruntime on the CPU, cuda_graph or compiled on CUDA"}


def runtime_class(setting: Setting) -> type[Runtime]:
    """The class that runs this setting, without trying it. Raises RuntimeUnavailable."""
    kind = setting.device.partition(":")[0]
    if kind not in DEFAULTS:
        raise RuntimeUnavailable(f"no device {setting.device!r}: there are {', '.join(DEFAULTS)}")
    chosen = setting.runtime or DEFAULTS[kind]
    if chosen in ABSENT:
        raise RuntimeUnavailable(ABSENT[chosen])
    if chosen not in RUNTIMES:
        raise RuntimeUnavailable(f"no runtime {chosen!r}: there are {', '.join(RUNTIMES)}")
    return RUNTIMES[chosen]()


def make_runtime(setting: Setting) -> Runtime:
    """The runtime of that setting, ready for a net. Raises RuntimeUnavailable."""
    return runtime_class(setting)(setting)


def setting_of(hardware: Mapping[str, Any]) -> Setting:
    """The `hardware` group of a configuration as a Setting."""
    return Setting(**{k: hardware[k] for k in Setting.__dataclass_fields__ if k in hardware})


def runtime_skips(hardware: Mapping[str, Any]) -> bool:
    """Whether gated nets run with these settings, skipped blocks truly not run (on CUDA eager stands in for the graph)."""
    setting = setting_of(hardware)
    made = runtime_class(setting)
    in_a_file = made.from_file and (setting.batch > 1 or setting.precision == "int8")  # where files hold no branches
    return setting.on_cuda or (made.skips and not in_a_file)
