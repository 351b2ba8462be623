"""How a net is run when it is measured: everything that a latency depends on beside net and machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Setting:
    """`runtime`: "" is the device's default; `threads` of the CPU; `batch`: images a call; `precision`: fp32, and where a runtime
    offers it int8, bf16, fp16; `channels_last`: torch's memory layout (not of ONNX runtimes); `flush_l2`: CUDA: empties the
    card's second-level cache before each call (off: a deployed net finds its weights there)."""

    device: str = "cpu"
    runtime: str = ""
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    channels_last: bool = True
    flush_l2: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not at least 1")

    @property
    def on_cuda(self) -> bool:
        return self.device.partition(":")[0] == "cuda"

    @property
    def key(self) -> str:
        """One line that names the setting, for the references' history."""
        more = [self.precision, "nchw" * (not self.channels_last), "flush" * self.flush_l2]
        return "/".join([self.device, self.runtime, str(self.threads), *(m for m in more if m)])

    def with_runtime(self, runtime: str) -> Setting:
        return replace(self, runtime=runtime)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
