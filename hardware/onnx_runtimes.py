"""Engines that run the ONNX file that ships (hardware/export.py), on the CPU: ONNX Runtime, fp32 and int8, and OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hardware.runtimes import Runtime, RuntimeUnavailable
from hardware.setting import Setting

if TYPE_CHECKING:
    from torch import nn


class FromFile(Runtime):
    """What runs a file: a module becomes one first."""

    from_file = True

    def _prepare(self, module: nn.Module, shape: tuple[int, ...], mean: Any, std: Any, images: Any) -> None:
        from hardware.files import onnx_file  # brings torch

        self.open(onnx_file(module, shape, self.setting.precision, mean, std, images))


class OnnxRuntime(FromFile):
    """ONNX Runtime. int8: static, calibrated on images (hardware/int8.py)."""

    name = "onnxruntime"
    precisions: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("fp32", "int8")}

    def open(self, onnx_bytes: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.setting.threads, 1
        options.log_severity_level = 3  # 2 warns about every graph that another exporter could have made smaller
        self.session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
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


class OpenVino(FromFile):
    """OpenVINO (the extra `openvino`), one stream, latency hint, fp32."""

    name = "openvino"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        if find_spec("openvino") is None:
            raise RuntimeUnavailable("openvino is not installed: pip install -e '.[openvino]', or use onnxruntime")

    def open(self, onnx_bytes: bytes) -> None:
        import openvino

        core = openvino.Core()
        hints = {
            "INFERENCE_NUM_THREADS": self.setting.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.compiled = core.compile_model(core.read_model(onnx_bytes), "CPU", hints)
        self.request = self.compiled.create_infer_request()
        self.outputs = [next(iter(out.names)) for out in self.compiled.outputs]

    def load(self, pixels: np.ndarray) -> Any:
        import openvino

        return openvino.Tensor(np.ascontiguousarray(pixels, dtype=np.float32))

    def run(self, x: Any) -> Any:
        self.request.set_input_tensor(x)
        self.request.infer()
        return self.request

    def read(self, out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        named = {name: out.get_output_tensor(i).data.copy() for i, name in enumerate(self.outputs)}
        return named["logits"], named.get("kept")

    @classmethod
    def version(cls) -> str:
        return f"openvino {version('openvino')}"
