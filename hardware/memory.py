"""Whether there is memory enough for a net, before it is built: a machine that runs out of it kills whom it likes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COPIES = 5  # of the weights: the module, its copy for the export, the file, the measuring process's file and its session


class TooLarge(ValueError):
    """A net that needs more memory than there is."""


def refuse_too_large(net: Any, input_shape: Sequence[int] | None, batch: int) -> None:
    """Raises TooLarge for a net whose weights (in all their copies) or whose input batch alone are more than what is free."""
    from searchspace.architecture import Architecture
    from searchspace.complexity import count

    free = free_bytes()
    if free is None or isinstance(net, str):
        return
    architecture = net if isinstance(net, Architecture) else getattr(net, "architecture", None)
    if isinstance(architecture, Architecture):
        head = architecture.head
        widest = max(architecture.stem.out, head.conv, head.hidden, *(max(b.out, b.hidden) for b in architecture.blocks))
        kernel = max(b.kernel for b in architecture.blocks)
        most = (len(architecture.blocks) + 3) * (2 * kernel**2 * widest**2 + widest * architecture.classes)
        weights = 4 * most if COPIES * 4 * most <= free / 2 else 4 * count(architecture).params  # counting takes a while
        pixels = architecture.in_channels * architecture.resolution**2
    else:
        weights = sum(p.numel() * p.element_size() for p in net.parameters()) if hasattr(net, "parameters") else 0
        pixels = int(input_shape[1] * input_shape[2] * input_shape[3]) if input_shape is not None and len(input_shape) == 4 else 0
    needed = COPIES * weights + 4 * 4 * batch * pixels  # PROBED batches of fp32 pixels
    if needed > free:
        raise TooLarge(f"needs about {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free")


def free_bytes() -> int | None:
    """What Linux says is available, within the limit of the control group; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            most, now = (Path("/sys/fs/cgroup", name).read_text().strip() for name in (limit, used))
            if most.isdigit():
                cached = _cached(Path("/sys/fs/cgroup", limit).with_name("memory.stat"))
                available = min(available, max(0, int(most) - int(now) + cached))
        except (OSError, ValueError):
            continue
    return available


def _cached(stat: Path) -> int:
    """Bytes of files that the kernel keeps for a group and gives back when memory is wanted."""
    try:
        found = dict(line.split() for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return sum(int(found.get(key, 0)) for key in ("inactive_file", "active_file"))
