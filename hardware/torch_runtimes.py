"""torch itself as an engine: eager, compiled, and as a CUDA graph. What stands here for CUDA was NOT RUN by its writer."""

from __future__ import annotations

import os
import shutil
import types
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hardware.export import Deployed, deployed
from hardware.runtimes import Clock, Runtime, RuntimeUnavailable
from hardware.setting import Setting
from searchspace.inference import private_copy

BLOCK_MS = 5.0  # CUDA: long beside the half microsecond that an event resolves, short beside a change of clocks
FLUSH_BYTES = 256 * 2**20  # more than the second-level cache of any card so far
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Eager(Runtime):
    """torch as written, channels_last unless told otherwise (1.2-1.5 times as fast on the CPU), inference mode. On CUDA a small
    net is bound by its launches, and this times them. bf16 and fp16: weights and activations, the normalisation before them in
    fp32."""

    name = "eager"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    precisions: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16")}
    block = 0  # calls between two CUDA events; 0: not known yet
    flushed: Tensor | None = None

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Any, std: Any, images: Any) -> None:
        net = deployed(private_copy(module), mean, std, shape[1]).eval().to(self.setting.device)
        if self.setting.precision in HALF:
            net.module.to(HALF[self.setting.precision])
            net.normalise.register_forward_hook(lambda _, __, out: out.to(HALF[self.setting.precision]))
        self.layout = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        self.net: Deployed = net.to(memory_format=self.layout)  # type: ignore[call-overload]
        if self.setting.flush_l2 and self.on_cuda:
            self.flushed = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=self.setting.device)

    def load(self, pixels: np.ndarray) -> Any:
        x = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(self.setting.device)
        return x.contiguous(memory_format=self.layout)

    def run(self, x: Any) -> Any:
        return self.net.run(x)

    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        logits, kept = out
        return logits.float().cpu().numpy(), None if kept is None else kept.float().cpu().numpy()

    @contextmanager
    def ready(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(self.setting.threads)
        # events and streams are those of the current card
        card: AbstractContextManager[Any] = torch.cuda.device(self.setting.device) if self.on_cuda else nullcontext()
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
        """Milliseconds a call over `calls` of them, on the GPU's own clock, one synchronisation at the end. With `flush_l2` each
        call has its own pair of events, the flush between the pairs."""
        self.run(x)  # whatever this input needs first (a copy, a plan) lies outside
        pairs = calls if self.flushed is not None else 1
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(pairs)]
        for start, end in events:
            if self.flushed is not None:
                self.flushed.zero_()
            start.record()
            for _ in range(calls // pairs):
                self.again(x)
            end.record()
        events[-1][1].synchronize()
        return sum(start.elapsed_time(end) for start, end in events) / calls

    def again(self, x: Any) -> None:
        """Run once more on the input of the last `run`."""
        self.run(x)

    @classmethod
    def version(cls) -> str:
        return f"torch {torch.__version__}"


class Compiled(Eager):
    """torch.compile, whole graph, static shape. No gated nets: the graph would break at every gate."""

    name = "compiled"
    skips = False

    def __init__(self, setting: Setting):
        super().__init__(setting)
        wanted = os.environ.get("CXX", "g++")
        if setting.device == "cpu" and not (shutil.which(wanted) or shutil.which("clang++")):
            raise RuntimeUnavailable(f"torch.compile needs a C++ compiler and there is no {wanted}: install g++, or use eager")

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Any, std: Any, images: Any) -> None:
        super()._prepare(module, shape, mean, std, images)
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

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Any, std: Any, images: Any) -> None:
        super()._prepare(module, shape, mean, std, images)
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
