"""What is measured: from whatever a caller names (an Architecture, a Network, a name, any module) to a module with an input
shape, and to the Job that a measuring process is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from hardware.export import ExportError, Stats, deployed, evaluating, is_gated
from hardware.files import onnx_file
from hardware.job import PROBED, Job
from hardware.setting import Setting
from searchspace.architecture import Architecture
from searchspace.blocks import BLOCKS
from searchspace.inputs import input_of
from searchspace.named import resolve
from searchspace.network import Network, build

MIN_IMAGES = 64


@dataclass(frozen=True)
class Subject:
    """shape: (batch, C, H, W); name: for messages; `settled`: random weights that any process can make again; `named`: how
    another process finds the code of a module."""

    name: str
    module: nn.Module
    shape: tuple[int, int, int, int]
    settled: bool = False
    named: str | None = None


def subject_of(net: Any, input_shape: Sequence[int] | None, batch: int) -> Subject:
    """`input_shape`: (1 or batch, C, H, W), needed where the net does not say it itself. Raises
    ValueError."""
    named = net if isinstance(net, str) else None
    if named is not None:
        net = _named(named, input_shape)
    architecture = net if isinstance(net, Architecture) else getattr(net, "architecture", None)
    name = named or type(net).__name__
    if isinstance(architecture, Architecture):
        size = architecture.resolution
        shape = (batch, architecture.in_channels, size, size)
        random = net is architecture
        return Subject(named or architecture.id, settled(architecture) if random else net, shape, random)
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name} is neither an Architecture nor a torch module")
    input_shape = input_of(net) or input_shape  # what a module says goes before, as of an Architecture
    if input_shape is None or len(input_shape) != 4:
        raise ValueError(f"{name} does not say what its input is: give input_shape=(1, C, H, W)")
    first, channels, height, width = (int(n) for n in input_shape)
    if first not in (1, batch):
        raise ValueError(f"input_shape {tuple(input_shape)} says batch {first}, the meter {batch}")
    return Subject(name, net, (batch, channels, height, width), named=named)


def _named(name: str, input_shape: Sequence[int] | None) -> Architecture | nn.Module:
    """As searchspace.named.resolve, random weights alike in every process."""
    shape = (1, 3, None, None) if input_shape is None else input_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resolve(name, resolution=shape[2], in_channels=int(shape[1] or 3))


def settled(architecture: Architecture) -> nn.Module:
    """Random weights, the same in every process, and batch norms that have seen two images: without, activations shrink layer
    by layer at initialisation, and arithmetic on denormal numbers is many times slower than on any trained net. The caller's
    random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(architecture)
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = None  # the plain average of what was seen
        with torch.no_grad():
            net.train()(torch.randn(2, architecture.in_channels, architecture.resolution, architecture.resolution))
    return net.eval()


def job_of(
    subject: Subject, setting: Setting, from_file: bool, images: Any = None, mean: Stats = None, std: Stats = None,
    calibration: Any = None,
) -> Job:  # fmt: skip
    """The job of a subject: its file where the runtime takes one, torch's answer to the first images, and for a gated net the
    images that it decides on. Without `images` (n, C, H, W), raw pixels, they are noise. Raises ValueError, ExportError."""
    shape, module = subject.shape, subject.module
    gated = is_gated(module)
    least = max(MIN_IMAGES, setting.batch) if gated else setting.batch
    if gated and images is not None and len(images) < least:
        raise ValueError(f"a gated net's latency depends on the image: give images=, at least {least}, not {len(images)}")
    if not gated and images is not None and np.shape(images)[1] != shape[1]:
        images = mean = std = None  # of other nets in this session; here they would only prove that the same is computed
    pixels = _noise(shape, least if gated else least * PROBED) if images is None else pixels_for(images, shape)
    if len(pixels) < least:  # a batch larger than the sample: its images again
        pixels = np.tile(pixels, (-(-least // len(pixels)), 1, 1, 1))
    kept_images = len(pixels) if gated else min(len(pixels), PROBED * setting.batch)
    pixels = pixels[: kept_images // setting.batch * setting.batch]
    logits, kept = answer(module, pixels[: PROBED * setting.batch if not gated else len(pixels)], setting.batch, mean, std)
    if not np.isfinite(logits).all():
        raise ValueError("its logits are not finite (NaN or infinite weights?)")
    job = Job(subject.name, shape, gated, pixels, logits, kept, mean=mean, std=std)
    if from_file:
        seen = images if calibration is None else calibration
        fits = seen is not None and np.shape(seen)[1] == shape[1]
        ranges = pixels_for(seen, shape) if fits and setting.precision == "int8" else _noise(shape, MIN_IMAGES)
        job.onnx = onnx_file(module, shape, setting.precision, mean, std, ranges)
    elif subject.settled:
        job.architecture = module.architecture.to_dict()  # type: ignore[union-attr, operator]
        job.imports = _families_of(module.architecture)  # type: ignore[arg-type]
    else:
        job.module, job.named = module, subject.named
    return job


def answer(
    module: nn.Module, pixels: np.ndarray, batch: int, mean: Stats = None, std: Stats = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """torch's logits (n, classes) and decisions (n, gates) or None, batch by batch."""
    net = deployed(module, mean, std, pixels.shape[1])
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    logits, kept = [], []
    with evaluating(net), torch.inference_mode():
        for i in range(0, len(pixels), batch):
            out, decisions = net.run(torch.from_numpy(np.ascontiguousarray(pixels[i : i + batch], np.float32)).to(device))
            if not isinstance(out, torch.Tensor):
                raise ExportError(f"it gives a {type(out).__name__}, not one tensor of logits")
            logits.append(out.float().cpu().numpy())
            if decisions is not None:
                kept.append(decisions.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(kept) if kept else None


def travels(job: Job) -> bool:
    """Whether another process can be given this net: its file, its architecture, or its name, the latter two with weights."""
    if isinstance(job.module, Network):
        return job.module.execution == "gather"
    return job.module is None or job.named is not None


def pack(job: Job, path: str) -> None:
    """Leaves the module here: what travels is what it is made from and a file of its weights."""
    if job.module is None:
        return
    if isinstance(job.module, Network):
        job.architecture, job.imports = job.module.architecture.to_dict(), _families_of(job.module.architecture)
    save_model(job.module, path)  # knows that shared gates are one tensor
    job.weights, job.module = path, None


def _families_of(architecture: Architecture) -> tuple[str, ...]:
    """Modules other than ours that make its blocks (plug-ins, see README)."""
    made = {BLOCKS[block.family].__module__ for block in architecture.blocks}
    return tuple(sorted(name for name in made if not name.startswith("searchspace.")))


def module_of(job: Job) -> nn.Module:
    """The net that arrived."""
    for name in job.imports:
        import_module(name)
    if job.architecture is not None:
        architecture = Architecture.from_dict(job.architecture)
        if job.weights is None:
            return settled(architecture)
        net: nn.Module = build(architecture)
    else:
        found = _named(str(job.named), job.shape)
        net = build(found) if isinstance(found, Architecture) else found
    if job.weights is not None:
        load_model(net, job.weights)
    return net.eval()


def pixels_for(images: Any, shape: Sequence[int]) -> np.ndarray:
    """`images` (n, C, H, W), raw pixels, at the size that `shape` (N, C, H, W) wants: bilinear with
    antialiasing."""
    pixels = torch.as_tensor(images).float().cpu()
    if pixels.dim() != 4 or pixels.shape[1] != shape[1]:
        raise ValueError(f"images of shape {tuple(pixels.shape)} are not (n, {shape[1]}, H, W)")
    if tuple(pixels.shape[2:]) != tuple(shape[2:]):
        size = (int(shape[2]), int(shape[3]))
        pixels = nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.numpy()


def _noise(shape: Sequence[int], n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape[1:]), dtype=np.uint8)
