"""A table for a terminal: a document.Table as text, its columns aligned. Standard library only."""

from __future__ import annotations

import textwrap

from analysis.document import Table

WIDTH = 120  # of sentences


def aligned(table: Table) -> str:
    """Head, a rule and the rows; numeric columns flush right, two spaces between columns, no space at the end of a line."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(
            cell.rjust(width) if i in table.numeric else cell.ljust(width) for i, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()

    return "\n".join([line(table.head), "  ".join("-" * width for width in widths), *(line(row) for row in table.rows)])


def wrapped(text: str) -> str:
    """Sentences on lines of at most WIDTH characters; lines that are there stay apart."""
    return "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in text.splitlines())
