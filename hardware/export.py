"""Any network to one ONNX file: float32 raw pixels (0..255) in, logits out, the normalisation inside.

    data = to_onnx(net, (1, 3, 32, 32), mean, std); parity(net, data, images, mean, std)

A static net is exported in one piece, a gated one piece by piece (hardware/stitch.py), so that a skipped
block is truly not run. Expect 0.05-0.3 s; logits differ from torch by about 1e-7 of the largest.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import checker
from torch import Tensor, nn

from hardware.errors import one_line
from hardware.stitch import stitch
from searchspace.execution import evaluating as evaluating

# The one place to change when torch drops its legacy exporter: {"dynamo": True} (which needs the package
# onnxscript). Today the legacy one is 15 times quicker, and the pieces are plain enough for both.
EXPORTER: dict[str, Any] = {"dynamo": False}
OPSET = 17
MEAN, STD = (
    127.5,
    64.0,
)  # what stands for a data set's own statistics when there is no data set, on the 0..255 scale

Stats = Sequence[float] | float | None


class ExportError(RuntimeError):
    """A net that cannot become an ONNX file; the text is one line."""


def is_gated(module: nn.Module) -> bool:
    """Whether the module decides per image which blocks to run (the face of searchspace.network.Network)."""
    gates = getattr(module, "gates", None)
    return (
        isinstance(gates, nn.ModuleDict) and len(gates) > 0 and all(hasattr(module, k) for k in ("stem", "blocks", "head", "run"))
    )


class Normalise(nn.Module):
    """(N, C, H, W) raw pixels -> (x - mean) / std, per channel, on the 0..255 scale."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: Stats = None, std: Stats = None):
        super().__init__()
        for name, given, default in (("mean", mean, MEAN), ("std", std, STD)):
            values = torch.as_tensor(default if given is None else given, dtype=torch.float32).flatten()
            if len(values) not in (1, channels):
                raise ValueError(f"{name}: {len(values)} values for {channels} channels")
            self.register_buffer(name, values.expand(channels).reshape(1, channels, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Deployed(nn.Module):
    """Normalisation and net: what a user of the net calls, with raw pixels."""

    def __init__(self, module: nn.Module, channels: int, mean: Stats = None, std: Stats = None):
        super().__init__()
        self.normalise, self.module = Normalise(channels, mean, std), module

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, H, W) raw pixels -> (N, classes)."""
        return self.module(self.normalise(image))

    def run(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same with the decisions of a gated net: logits, kept (N, gates) or None."""
        if is_gated(self.module):
            return self.module.run(self.normalise(image))  # type: ignore[operator, no-any-return]
        return self(image), None


def deployed(module: nn.Module, mean: Stats = None, std: Stats = None, channels: int = 3) -> Deployed:
    """Wrap `module` so that it takes raw pixels; a Network says itself how many channels it has."""
    architecture = getattr(module, "architecture", None)
    return Deployed(module, getattr(architecture, "in_channels", channels), mean, std).to(_device(module))


def to_onnx(module: nn.Module, input_shape: Sequence[int], mean: Stats = None, std: Stats = None) -> bytes:
    """`module` as an ONNX file: input "image" float32 of `input_shape` (N, C, H, W), raw pixels; output
    "logits", and for a gated net (N = 1) "kept" (1, gates) float. `mean`, `std`: per channel, on the 0..255
    scale. The module's training flags are as before afterwards. Raises ExportError."""
    shape = tuple(int(n) for n in input_shape)
    if len(shape) != 4:
        raise ExportError(f"input shape {shape} is not (N, C, H, W)")
    if is_gated(module) and shape[0] != 1:
        raise ExportError(f"a gated net is exported for batch 1, not {shape[0]}: its blocks are skipped image by image")
    execution = getattr(module, "execution", "gather")
    if is_gated(module) and execution != "gather":
        raise ExportError(f"built with execution={execution!r}, and a file decides and skips block by block: use runtime=eager")
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(shape, generator=generator) * 255).to(_device(module))
    net = deployed(module, mean, std, shape[1])
    with evaluating(net), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter announces its retirement at every call
        try:
            model = stitch(net, image, _trace) if is_gated(module) else _trace(net, (image,), ["image"], ["logits"])
            checker.check_model(model, full_check=True)
        except Exception as error:  # whatever a foreign module or the exporter raises, the net is what cannot be exported
            raise ExportError(one_line(error)) from error
    return model.SerializeToString()


def parity(module: nn.Module, onnx_bytes: bytes, images: Any, mean: Stats = None, std: Stats = None) -> float:
    """max |logits of ONNX Runtime - logits of torch| / max |logits of torch| over `images` (n, C, H, W), raw
    pixels.

    A gate whose probability lies within rounding of 1/2 may decide differently in the two: then this number
    says so."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    batch = int(session.get_inputs()[0].shape[0])
    pixels = torch.as_tensor(images).float().cpu()
    if len(pixels) < batch:
        raise ValueError(f"{len(pixels)} images for a net exported for batch {batch}")
    net, worst, largest = deployed(module, mean, std, pixels.shape[1]), 0.0, 0.0
    with evaluating(net), torch.inference_mode():
        for i in range(0, len(pixels) - batch + 1, batch):
            x = pixels[i : i + batch]
            ours = net(x.to(_device(module))).float().cpu().numpy()
            theirs = np.asarray(session.run(["logits"], {"image": x.numpy()})[0])
            worst, largest = (
                max(worst, float(np.abs(ours - theirs).max())),
                max(largest, float(np.abs(ours).max())),
            )
    return worst / largest if largest else worst


def _device(module: nn.Module) -> torch.device:
    tensor = next(module.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _trace(module: nn.Module, inputs: tuple[Tensor, ...], names_in: list[str], names_out: list[str]) -> onnx.ModelProto:
    copies = tuple(t.clone() for t in inputs)  # one tensor passed twice would be one input (h and c of an LSTM, both zeros)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "piece.onnx")
        torch.onnx.export(
            module.eval(),
            copies,
            path,
            input_names=names_in,
            output_names=names_out,
            opset_version=OPSET,
            **EXPORTER,
        )
        return onnx.load(path)
