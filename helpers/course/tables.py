"""Tables that show themselves at the end of a cell, and as text where they are printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Table:
    """Rows of one kind of named tuple, whose field names are the headings.

    Attributes
    ----------
    rows : sequence of named tuple
        At least one; whole numbers are shown with a comma every three digits.
    """

    rows: Sequence[NamedTuple]

    def cells(self) -> list[list[str]]:
        """Return the headings, and below them what stands in each row."""
        headings = [name.replace("_", " ") for name in self.rows[0]._fields]
        return [headings, *([_text(value) for value in row] for row in self.rows)]

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        )
        return "\n".join(line.rstrip() for line in lines)

    def _repr_markdown_(self) -> str:
        headings, *rows = self.cells()
        lines = [headings, ["---"] * len(headings), *rows]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _text(value: object) -> str:
    """Return a value as a table shows it."""
    return f"{value:,}" if isinstance(value, int) else str(value)
