"""The fingerprint of the machine: what a latency depends on beside the net. Two machines of one make share
it.

    d = fingerprint(); fingerprint_id(d)      # {"cpu": "AMD EPYC ...", "cores": 2, ...}, "m1f3a9c02"

Plain strings and numbers, the same in every process of one machine (the host's name, load and free memory are
left out). Imports neither torch nor onnxruntime: versions come from the packages' metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy")
# vector units that decide which kernels run; a virtual machine may hide some that the model's name promises
_UNITS = (
    "sse4_2",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "asimddp",
    "sve",
    "bf16",
    "i8mm",
)


def fingerprint() -> dict[str, str | int | float]:
    """cpu, units, cores (logical), governor, ram_gb, gpu, driver, os, python and library versions; "" where
    unknown."""
    cpu, units = _cpu()
    gpu, driver = _gpu()
    found: dict[str, str | int | float] = {
        "cpu": cpu,
        "units": units,
        "cores": os.cpu_count() or 0,
        "governor": _governor(),
        "ram_gb": _ram_gb(),
        "gpu": gpu,
        "driver": driver,
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fingerprint_id(found: dict[str, str | int | float]) -> str:
    """Short name of a fingerprint: `m` and eight hex digits of the sha256 of its canonical JSON."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return "m" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpu() -> tuple[str, str]:
    info: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    flags = set((info.get("flags") or info.get("Features") or "").split())
    name = info.get("model name") or info.get("Model")
    if not name and platform.system() == "Darwin":
        name = _said_by("sysctl", "-n", "machdep.cpu.brand_string")
    return name or platform.processor() or platform.machine(), " ".join(u for u in _UNITS if u in flags)


def has_vnni() -> bool:
    """Whether sums of 8-bit products do not saturate: all but x86 CPUs without VNNI."""
    units = _cpu()[1].split()
    return "avx512_vnni" in units or "avx2" not in units


def _governor() -> str:
    return _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def _ram_gb() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):  # no such question on this platform
        return 0


@cache
def _gpu() -> tuple[str, str]:
    """Name and driver of the GPU that this process would use first."""
    fields = _said_by("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    name, _, driver = (fields[0] if fields else "").partition(",")
    return name.strip(), driver.strip()


def gpu_clock_mhz(device: str = "cuda") -> int:
    """The clock that the card's multiprocessors run at now; read, never set; 0 where unknown. NOT RUN by its writer."""
    import torch

    uuid = str(torch.cuda.get_device_properties(device).uuid)
    said = _said_by(
        "nvidia-smi", f"--id=GPU-{uuid.removeprefix('GPU-')}", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"
    )
    return int(said) if said.isdigit() else 0


def _said_by(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
