"""An ONNX file of hardware/export.py in int8: static post-training quantisation, and what it costs in accuracy.

    data8 = quantised(data, images)              # images: raw pixels 0..255, some 128 of the training ones
    top1(data, x, y), top1(data8, x, y)          # percent, on ONNX Runtime
    agreement(data, data8, x)                    # Agreement(same_top1=0.997, logit_rms=0.02)

What it brings, fp32 -> int8, least ms of interleaved calls (ONNX Runtime 1.32, one thread of a Zen 5 EPYC with VNNI):

    224 px   MobileNetV1 5.18 -> 2.24, V2 4.25 -> 2.16, V3-large 3.70 -> 3.27, V3-small 1.39 -> 1.62: slower, as hard-swish
             stays fp32 and its borders cost more than the convolutions gain (written as int8 Add, Clip, Mul: no quicker)
     32 px   ResNet-20 0.40 -> 0.20, MobileNetV2-0.5 0.23 -> 0.16;  8 px: 0-21 %.  Files: 0.27 to 0.36 of the size

The defaults are what came out best there: digits, two seeds each of MobileNetV1-0.25, V2-0.5, V3-small and ResNet-20, mean
rms of the logits' difference / rms of the logits. Top-1 moved by no more than one image in 287 but for the last two rows:

    uint8 activations, int8 weights a channel, min-max   0.017
    weights a tensor                                     0.020 (MobileNetV1's 0.022 become 0.028), and 2-9 % quicker
    logits int8 too                                      0.020: they clip where an image goes beyond the calibration's
    first convolution in fp32, or the last Linear        0.017: nothing won
    percentile 99.999 / 99.99; entropy                   0.017 / 0.020; finds the min-max of these nets
    16 / 32 / 64 / 256 / 1024 images (128 above)         0.022 / 0.018 / 0.018 / 0.017 / 0.018
    int8 activations                                     equal, but 15 of V2's 52 convolutions stay fp32: 1.6 times slower
    percentile 99.9                                      0.03-0.12, up to 1 point of top-1
    images scaled to 0..1                                0.93, 32-79 points of top-1
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import checker, helper, shape_inference

from hardware.export import ExportError, one_line

FEWEST_IMAGES = 16


class Agreement(NamedTuple):
    """`same_top1`: share of images with the same answer; `logit_rms`: rms of the difference of the logits / rms of the
    fp32 file's."""

    same_top1: float
    logit_rms: float


def quantised(onnx_bytes: bytes, images: Any, vnni: bool = True) -> bytes:
    """The file in int8 (QDQ: weights int8 a channel, activations uint8 a tensor; image, normalisation and logits stay
    float32, and so do hard-swish and hard-sigmoid, for which ONNX Runtime has no int8 kernel).

    `images`: (n, C, H, W) raw pixels 0..255, 16 or more, numpy or torch; their activations' smallest and largest values
    become the ranges. `vnni=False`: weights of 7 bits, for an x86 CPU older than Ice Lake or Zen 4, whose sums of 8-bit
    products saturate. Expect 0.2-2 s on small images, MobileNetV2 at 224 px 1 s and 50 ms an image; calibration takes all
    cores.

    Raises ExportError for a gated net (the quantiser passes over the branches of an `If` and leaves the blocks
    fp32, without a word), for too few images, and for images of another shape or scale."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    pixels = np.asarray(images)
    if len(pixels) < FEWEST_IMAGES:
        raise ExportError(f"{len(pixels)} calibration images are too few: int8 wants {FEWEST_IMAGES} or more, better 128")
    try:
        model = onnx.load_from_string(onnx_bytes)
    except Exception as error:  # protobuf's own type
        raise ExportError(f"not an ONNX file: {one_line(error)}") from error
    branching = {node.op_type for node in model.graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)}
    if branching:
        raise ExportError(f"int8 is for static nets: the blocks inside {', '.join(sorted(branching))} nodes would stay fp32")
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    _check(pixels, shape)
    if pixels.min() < 0 or pixels.max() <= 1:
        raise ExportError(f"calibration images lie in {pixels.min():.3g}..{pixels.max():.3g}: give raw pixels, 0..255")
    _pool(model)
    with tempfile.TemporaryDirectory() as folder, _silent():
        path, path8 = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, path)
        try:
            quantize_static(
                path,
                path8,
                _Reader(_batches(pixels, shape[0])),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=not vnni,
                activation_type=QuantType.QUInt8,  # VNNI multiplies unsigned by signed bytes
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
            )
            made = onnx.load(path8)
            checker.check_model(made, full_check=True)
        except Exception as error:  # whatever an operator of a foreign net makes the quantiser raise
            raise ExportError(f"cannot be quantised: {one_line(error)}") from error
    return made.SerializeToString()


def agreement(fp32_bytes: bytes, int8_bytes: bytes, images: Any) -> Agreement:
    """How alike two files answer. `images`: (n, C, H, W) raw pixels, n >= 1. Raises ExportError for images that do not fit."""
    ours, theirs = _logits(fp32_bytes, images), _logits(int8_bytes, images)
    size = float(np.square(ours).mean())
    same = float((ours.argmax(1) == theirs.argmax(1)).mean())
    return Agreement(same, float(np.sqrt(np.square(ours - theirs).mean() / size)) if size else float(np.abs(theirs).max()))


def top1(onnx_bytes: bytes, images: Any, labels: Any) -> float:
    """Top-1 in percent, fp32, int8 or gated, on ONNX Runtime with one thread, in batches of the file's own size.
    `images`: (n, C, H, W) raw pixels, `labels`: (n,) class indices, n >= 1. Raises ExportError for images that do not fit."""
    answers, right = _logits(onnx_bytes, images).argmax(1), np.asarray(labels)
    if answers.shape != right.shape:
        raise ExportError(f"{len(answers)} images, labels of shape {right.shape}")
    return 100 * float((answers == right).mean())


def _logits(onnx_bytes: bytes, images: Any) -> np.ndarray:
    """(n, classes) float64."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    pixels, shape = np.asarray(images), session.get_inputs()[0].shape
    _check(pixels, shape)
    answers = [session.run(["logits"], {"image": x})[0] for x in _batches(pixels, shape[0])]
    return np.concatenate(answers)[: len(pixels)].astype(np.float64)


def _check(pixels: np.ndarray, shape: Sequence[Any]) -> None:
    if any(not isinstance(n, int) or n < 1 for n in shape):
        raise ExportError(f"input shape {list(shape)} is not fixed: export with hardware.export.to_onnx")
    if pixels.ndim != 4 or pixels.shape[1:] != tuple(shape[1:]) or not len(pixels):
        raise ExportError(f"images of shape {pixels.shape} do not fit the file's (n, {', '.join(map(str, shape[1:]))})")


def _batches(pixels: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """(batch, C, H, W) float32, one after the other; the last is filled up with the first images."""
    for i in range(0, len(pixels), batch):
        yield pixels[np.arange(i, i + batch) % len(pixels)].astype(np.float32)


class _Reader:
    """What the calibrator asks for its inputs (onnxruntime.quantization.CalibrationDataReader, by its one method)."""

    def __init__(self, batches: Iterator[np.ndarray]):
        self.batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        x = next(self.batches, None)
        return None if x is None else {"image": x}


def _pool(model: onnx.ModelProto) -> None:
    """Means over height and width become GlobalAveragePool, in place: ONNX Runtime has that in int8, and ReduceMean not,
    which costs a net with squeeze-and-excitation 8 % (MobileNetV3, 224 px)."""
    known = shape_inference.infer_shapes(model).graph
    rank = {v.name: len(v.type.tensor_type.shape.dim) for v in (*known.input, *known.value_info)}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        told = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        spatial = {a % 4 for a in told.get("axes", ())} == {2, 3} and rank.get(node.input[0]) == 4
        if node.op_type != "ReduceMean" or not spatial:
            nodes.append(node)
            continue
        name, out = f"{node.name or node.output[0]}/pool", node.output[0]
        if told.get("keepdims", 1):
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [out], name=name))
        else:
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [name], name=name))
            nodes.append(helper.make_node("Flatten", [name], [out], name=f"{name}/flat"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextmanager
def _silent() -> Iterator[None]:
    """The quantiser advises its pre-processing (batch norms are folded by the export already) through the root logger;
    logging.warning() would even give that a handler, for good, were there none."""
    root, handler = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
