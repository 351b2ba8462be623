"""A report before it is a page: headings, paragraphs, tables, figures. One content, told as Markdown here, as HTML in html.py
and as a W&B Report in report.py. Standard library only.

Inline markup in texts is `code` and **strong**; everything else is plain text and is escaped by whoever renders it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.palette import Drawing


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """`kind`: "" | "lead" (an answer of the first screen) | "note" (small print) | "state" (still running, say)."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Bullets:
    """`folded` > 0: only so many are seen at first on a page."""

    items: tuple[str, ...]
    folded: int = 0


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Table:
    """Cells are texts with inline markup; `strong` are the numbers of the rows to stand out, `numeric` of the columns that
    are set flush right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    folded: str = ""  # with a text: the table opens when that is clicked


@dataclass(frozen=True)
class Picture:
    """`draw(palette, wide)`, see plots.py; the PNG goes to figures/<name>.png."""

    name: str
    draw: Callable[..., Drawing]
    caption: str


Item = Heading | Paragraph | Bullets | Code | Table | Picture


@dataclass(frozen=True)
class Document:
    title: str
    about: str  # one line under the title
    items: tuple[Item, ...]


def signed(value: float, digits: int) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def three(value: float) -> str:
    """Three digits, the last zeros too: 0.300, 12.3."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def plain(text: object) -> str:
    """Outside text (a path, a reason, a name) made harmless for inline markup: one line without ` and **."""
    return re.sub(r"\s+", " ", str(text)).replace("`", "'").replace("**", "* *").strip()


def markdown(document: Document, pictures: str = "figures") -> str:
    """The document as GitHub's Markdown; figures are looked for as `<pictures>/<name>.png`."""
    parts = [f"# {escaped(document.title)}", escaped(document.about)]
    for item in document.items:
        if isinstance(item, Heading):
            parts.append(f"{'#' * item.level} {escaped(item.text)}")
        elif isinstance(item, Paragraph):
            parts.append({"note": "<sub>{}</sub>", "state": "> {}"}.get(item.kind, "{}").format(escaped(item.text)))
        elif isinstance(item, Bullets):
            parts.append("\n".join(f"- {escaped(text)}" for text in item.items))
        elif isinstance(item, Code):
            parts.append(f"```\n{item.text.replace('```', '` ` `')}\n```")
        elif isinstance(item, Table):
            parts.append(table_markdown(item))
        else:
            parts.append(f"![{escaped(item.caption)}]({pictures}/{item.name}.png)\n\n<sub>{escaped(item.caption)}</sub>")
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> str:
    """A table in Markdown, the names of strong rows in bold."""
    rule = ["--:" if i in table.numeric else "---" for i in range(len(table.head))]
    rows = [
        [f"**{cell}**" if i in table.strong and j not in table.numeric and cell else cell for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    lines: list[Sequence[str]] = [table.head, rule, *rows]
    return "\n".join("| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def escaped(text: str) -> str:
    """A text with inline markup as Markdown: escapes what Markdown would take for markup outside of `code` (** stays strong)."""
    pieces = re.split(r"(`[^`]*`|\*\*)", text)
    return "".join(p if p.startswith("`") or p == "**" else re.sub(r"([\\*_<>\[\]#])", r"\\\1", p) for p in pieces)
