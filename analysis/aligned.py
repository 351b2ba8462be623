"""A table for a terminal: a document.Table as text, its columns aligned. Standard library only."""

from __future__ import annotations

from analysis.document import Table


def aligned(table: Table) -> str:
    """Head, a rule and the rows; numeric columns flush right, two spaces between columns, no space at the end of a line."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(
            cell.rjust(width) if i in table.numeric else cell.ljust(width) for i, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()

    return "\n".join([line(table.head), "  ".join("-" * width for width in widths), *(line(row) for row in table.rows)])
