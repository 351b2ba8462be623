"""What lies between two architectures: a distance, and the edits in words. Standard library only.

Blocks are aligned like letters of two words (Wagner and Fischer 1974): a block may be changed field by field, added or
removed. Blocks that are changed alike are told together.
"""

from __future__ import annotations

from dataclasses import fields

from searchspace.architecture import Architecture, Block

_WHOLE_BLOCK = len(fields(Block))  # adding or removing a block costs as much as changing every field of one
_NAMES = {"family": "family", "out": "width", "stride": "stride", "kernel": "kernel", "hidden": "expanded width",
          "se": "squeeze-and-excitation", "activation": "activation", "gate": "gate"}  # fmt: skip


def distance(a: Architecture, b: Architecture) -> int:
    """Number of fields that differ after the best alignment of the blocks (a block more or less counts for eight)."""
    return len(_frame(a, b)) + _table(a.blocks, b.blocks)[-1][-1]


def edits(a: Architecture, b: Architecture) -> list[str]:
    """What to change in `a` to get `b`, in words, whole-net changes first."""
    words = [f"{field}: {before} → {after}" for field, before, after in _frame(a, b)]
    changed: dict[tuple[str, str], list[int]] = {}
    for i, old, new in _align(a.blocks, b.blocks):
        if old is None and new is not None:
            changed.setdefault(("add", describe(new)), []).append(i)
        elif new is None and old is not None:
            changed.setdefault(("remove", describe(old)), []).append(i)
        elif old is not None and new is not None:
            for field, before, after in _block_changes(old, new):
                changed.setdefault((_NAMES[field], f"{before or 'none'} → {after or 'none'}"), []).append(i)
    for (what, how), where in changed.items():
        if what in ("add", "remove"):
            words.append(f"{what} {_blocks(where)}: {how}")
        elif len(where) == len(a.blocks) == len(b.blocks) and len(where) > 1:
            words.append(f"{what} of every block: {how}")
        else:
            words.append(f"{what} of {_blocks(where)}: {how}")
    return words


def describe(block: Block) -> str:
    """One block in a few words: `inverted residual 5x5, 24 → 144 wide, stride 2, SE, h_swish, gate rnn`."""
    kind = {"inverted": "inverted residual"}.get(block.family, block.family)
    parts = [f"{kind} {block.kernel}x{block.kernel}, {block.out} wide"]
    if block.hidden:
        parts.append(f"expanded to {block.hidden}")
    if block.stride > 1:
        parts.append(f"stride {block.stride}")
    if block.se:
        parts.append(f"SE {block.se}")
    parts.append(block.activation)
    if block.gate:
        parts.append(f"gate {block.gate}")
    return ", ".join(parts)


def _blocks(where: list[int]) -> str:
    """[0, 1, 2, 5] -> 'blocks 1-3, 6' (people count from one)."""
    runs: list[list[int]] = []
    for i in sorted(where):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    text = ", ".join(f"{lo + 1}" if lo == hi else f"{lo + 1}-{hi + 1}" for lo, hi in runs)
    return ("block " if len(where) == 1 else "blocks ") + text


def _frame(a: Architecture, b: Architecture) -> list[tuple[str, object, object]]:
    pairs: list[tuple[str, object, object]] = [
        ("resolution", a.resolution, b.resolution),
        ("classes", a.classes, b.classes),
        ("channels in", a.in_channels, b.in_channels),
        ("stem width", a.stem.out, b.stem.out),
        ("stem stride", a.stem.stride, b.stem.stride),
        ("stem kernel", a.stem.kernel, b.stem.kernel),
        ("stem pooling", a.stem.pool or "none", b.stem.pool or "none"),
        ("stem activation", a.stem.activation, b.stem.activation),
        ("head convolution", a.head.conv or "none", b.head.conv or "none"),
        ("head hidden layer", a.head.hidden or "none", b.head.hidden or "none"),
        ("gate sharing", a.gate_sharing or "none", b.gate_sharing or "none"),
        ("skip reward", "none" if a.skip_alpha is None else a.skip_alpha, "none" if b.skip_alpha is None else b.skip_alpha),
    ]
    if (a.head.conv or a.head.hidden) and (b.head.conv or b.head.hidden):
        pairs.append(("head activation", a.head.activation, b.head.activation))
    return [p for p in pairs if p[1] != p[2]]


def _block_changes(old: Block, new: Block) -> list[tuple[str, object, object]]:
    return [
        (f.name, getattr(old, f.name), getattr(new, f.name))
        for f in fields(Block)
        if getattr(old, f.name) != getattr(new, f.name)
    ]


def _cost(old: Block, new: Block) -> int:
    return 0 if old == new else len(_block_changes(old, new))


def _table(a: tuple[Block, ...], b: tuple[Block, ...]) -> list[list[int]]:
    rows = [[j * _WHOLE_BLOCK for j in range(len(b) + 1)]]
    for i, old in enumerate(a, 1):
        row = [i * _WHOLE_BLOCK]
        for j, new in enumerate(b, 1):
            row.append(min(rows[-1][j - 1] + _cost(old, new), rows[-1][j] + _WHOLE_BLOCK, row[-1] + _WHOLE_BLOCK))
        rows.append(row)
    return rows


def _align(a: tuple[Block, ...], b: tuple[Block, ...]) -> list[tuple[int, Block | None, Block | None]]:
    """(position, block of a or None, block of b or None) in order; the position counts in a, for an added block in b."""
    table, i, j = _table(a, b), len(a), len(b)
    out: list[tuple[int, Block | None, Block | None]] = []
    while i or j:
        here = table[i][j]
        if i and j and here == table[i - 1][j - 1] + _cost(a[i - 1], b[j - 1]):
            i, j = i - 1, j - 1
            out.append((i, a[i], b[j]))
        elif i and here == table[i - 1][j] + _WHOLE_BLOCK:
            i -= 1
            out.append((i, a[i], None))
        else:
            j -= 1
            out.append((j, None, b[j]))
    return out[::-1]
