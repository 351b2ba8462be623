"""One network, many ways to run it: a small class each.

    runtime = make_runtime("cpu", "onnxruntime", threads=1)  # RuntimeUnavailable where it cannot
    runtime.prepare(net, (1, 3, 32, 32), mean, std)
    x = runtime.load(pixels)                              # numpy (N, C, H, W), raw 0..255; outside the clock
    with runtime.ready(): out = runtime.run(x)            # what is timed
    logits, kept = runtime.read(out)                      # numpy; kept (N, gates) or None

Measured on two Zen 4 cores: eager ranks nets otherwise than a deployed engine does (tau 0.82 with ONNX
Runtime), so ONNX Runtime is the default on the CPU; torch.compile takes 5-28 s a net. CUDA: events around
blocks of calls of about 5 ms; whatever stands here for CUDA was NOT RUN by its writer, who had no GPU.
"""

from __future__ import annotations

import copy
import os
import shutil
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hardware.export import Deployed, Stats, deployed, is_gated, to_onnx

Clock = Callable[[], float]
BLOCK_MS = 5.0  # CUDA: long beside the half microsecond that an event resolves, short beside a change of clocks


class RuntimeUnavailable(RuntimeError):
    """This runtime cannot run here, or not this kind of net; the text is one line with the cure."""


class Runtime:
    """One prepared network. `skips`: whether a gated net runs, its skipped blocks truly not run."""

    name: ClassVar[str] = ""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    skips: ClassVar[bool] = True

    def __init__(self, device: str = "cpu", threads: int = 1):
        kind = device.partition(":")[0]
        if kind not in self.devices:
            others = ", ".join(name for name, made in RUNTIMES.items() if kind in made.devices)
            raise RuntimeUnavailable(f"{self.name} does not run on {device}: use {others or 'the cpu'}")
        if kind == "cuda" and not torch.cuda.is_available():
            raise RuntimeUnavailable("there is no CUDA device here: use the cpu")
        self.device, self.threads, self.on_cuda = device, threads, kind == "cuda"

    def prepare(self, module: nn.Module, input_shape: Sequence[int], mean: Stats = None, std: Stats = None) -> None:
        """Make ready to run `module` on (N, C, H, W) raw pixels; the module itself stays untouched."""
        if is_gated(module) and not self.skips:
            kind = "cuda" if self.on_cuda else "cpu"
            skipping = " or ".join(n for n, made in RUNTIMES.items() if made.skips and kind in made.devices)
            raise RuntimeUnavailable(f"{self.name} cannot skip the blocks of a gated net: use runtime={skipping}")
        self._prepare(module, tuple(input_shape), mean, std)

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Stats, std: Stats) -> None:
        raise NotImplementedError

    def load(self, pixels: np.ndarray) -> Any:
        """What `run` takes, made outside the clock."""
        raise NotImplementedError

    def run(self, x: Any) -> Any:
        """One inference."""
        raise NotImplementedError

    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (N, classes) and decisions (N, gates) or None."""
        raise NotImplementedError

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
    def version(cls) -> str:
        return f"torch {torch.__version__}"


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU, fp32, from the file that ships."""

    name = "onnxruntime"

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Stats, std: Stats) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3  # 2 warns about every graph that another exporter could have made smaller
        data = to_onnx(module, shape, mean, std)
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.outputs = [out.name for out in self.session.get_outputs()]

    def load(self, pixels: np.ndarray) -> Any:
        return {"image": np.ascontiguousarray(pixels, dtype=np.float32)}

    def run(self, x: Any) -> Any:
        return self.session.run(None, x)

    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        named = dict(zip(self.outputs, out, strict=True))
        return named["logits"], named.get("kept")

    @classmethod
    def version(cls) -> str:
        return f"onnxruntime {version('onnxruntime')}"


class Eager(Runtime):
    """torch as written, channels_last (1.2-1.5 times as fast as the default layout on the CPU), inference
    mode. On CUDA a small net is bound by its launches, and this times them."""

    name = "eager"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    block = 0  # calls between two CUDA events; 0: not known yet

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Stats, std: Stats) -> None:
        net = deployed(private_copy(module), mean, std, shape[1]).eval().to(self.device)
        self.net: Deployed = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def load(self, pixels: np.ndarray) -> Any:
        x = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(self.device)
        return x.contiguous(memory_format=torch.channels_last)

    def run(self, x: Any) -> Any:
        return self.net.run(x)

    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        logits, kept = out
        return logits.float().cpu().numpy(), None if kept is None else kept.float().cpu().numpy()

    @contextmanager
    def ready(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        # events and streams are those of the current card
        card: AbstractContextManager[Any] = torch.cuda.device(self.device) if self.on_cuda else nullcontext()
        try:
            with torch.inference_mode(), card:
                yield
        finally:
            torch.set_num_threads(threads)

    def timed_ms(self, x: Any, clock: Clock) -> float:
        if not self.on_cuda:
            return super().timed_ms(x, clock)
        if self.block == 0:
            self.block = max(1, min(1000, round(BLOCK_MS / max(1e-3, self._events_ms(x, 3)))))
        return self._events_ms(x, self.block)

    def _events_ms(self, x: Any, calls: int) -> float:
        """Milliseconds a call over `calls` of them, on the GPU's own clock, one synchronisation at the
        end."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.run(x)  # whatever this input needs first (a copy, a plan) lies outside
        start.record()
        for _ in range(calls):
            self.again(x)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    def again(self, x: Any) -> None:
        """Run once more on the input of the last `run`."""
        self.run(x)


class Compiled(Eager):
    """torch.compile, whole graph, static shape. No gated nets: the graph would break at every gate."""

    name = "compiled"
    skips = False

    def __init__(self, device: str = "cpu", threads: int = 1):
        super().__init__(device, threads)
        wanted = os.environ.get("CXX", "g++")
        if device == "cpu" and not (shutil.which(wanted) or shutil.which("clang++")):
            raise RuntimeUnavailable(f"torch.compile needs a C++ compiler and there is no {wanted}: install g++, or use eager")

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Stats, std: Stats) -> None:
        super()._prepare(module, shape, mean, std)
        net = self.net

        def call(image: Tensor) -> tuple[Tensor, None]:
            return net(image), None

        # dynamo keeps what it compiled by code object, and looks through all of it at every call (and gives
        # up after eight): with one code object a net, the nets of one session do not slow each other down
        own = types.FunctionType(call.__code__.replace(co_name=f"call_{id(net)}"), call.__globals__, None, None, call.__closure__)
        self.compiled = torch.compile(own, fullgraph=True, dynamic=False)
        with self.ready():
            self.compiled(self.load(np.full(shape, 127, np.uint8)))

    def run(self, x: Any) -> Any:
        return self.compiled(x)


class CudaGraph(Eager):
    """Eager captured once as a CUDA graph and replayed: no launch cost. No gated nets: a graph has no
    branches."""

    name = "cuda_graph"
    devices: ClassVar[tuple[str, ...]] = ("cuda",)
    skips = False

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Stats, std: Stats) -> None:
        super()._prepare(module, shape, mean, std)
        with self.ready():
            self.image = self.load(np.full(shape, 127, np.uint8))
            side = torch.cuda.Stream()  # cuDNN picks its algorithms before the capture, off the default stream
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.net(self.image)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.logits = self.net(self.image)

    def run(self, x: Any) -> Any:
        self.image.copy_(x)
        self.graph.replay()
        return self.logits, None

    def again(self, x: Any) -> None:
        self.graph.replay()


def private_copy(module: nn.Module) -> nn.Module:
    """A deep copy; tensors of an autograd graph that hang on a module (the decisions of the last training
    step) cannot be copied deeply and come along detached."""
    memo: dict[int, Any] = {}
    for m in module.modules():
        for value in vars(m).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    return copy.deepcopy(module, memo)


RUNTIMES: dict[str, type[Runtime]] = {made.name: made for made in (OnnxRuntime, Eager, Compiled, CudaGraph)}
DEFAULTS = {"cpu": "onnxruntime", "cuda": "cuda_graph"}


def make_runtime(device: str = "cpu", name: str | None = None, threads: int = 1) -> Runtime:
    """The runtime of that name, without a name the device's default. Raises RuntimeUnavailable."""
    kind = device.partition(":")[0]
    if kind not in DEFAULTS:
        raise RuntimeUnavailable(f"no device {device!r}: there are {', '.join(DEFAULTS)}")
    chosen = name or DEFAULTS[kind]
    if chosen not in RUNTIMES:
        raise RuntimeUnavailable(f"no runtime {chosen!r}: there are {', '.join(RUNTIMES)}")
    return RUNTIMES[chosen](device, threads)


def runtime_skips(hardware: Mapping[str, Any]) -> bool:
    """Whether gated nets run with these settings, skipped blocks truly not run (on CUDA eager stands in for the graph)."""
    return hardware["device"] == "cuda" or RUNTIMES[hardware["runtime"]].skips
