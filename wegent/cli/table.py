"""Rows of text in columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """To a terminal as a table; to a pipe as tab-separated lines without heads, for other programs."""
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(row) + "\n")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
