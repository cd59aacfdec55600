"""Tables as the command line prints them: bare columns, within a terminal's width, and whole lines elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from service.report.words import amount, title
from service.schema import Trial

# Between two columns.
_GAP = 2
_PER_IMAGE = " / image"
# Wide enough for any line; what is beyond its last column is cut away.
_UNLIMITED = 10_000


def text_console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given: nothing in it is markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def column(heading: str | Text, *, is_number: bool = False, is_whole: bool = False) -> Column:
    """A column whose cells are broken between words where there is no room, unless they are to stay whole."""
    return Column(Text(heading) if isinstance(heading, str) else heading, justify="right" if is_number else "left",
                  no_wrap=is_whole, overflow="fold")  # fmt: skip


def table_of(*columns: Column) -> Table:
    """A table without rows."""
    return Table(*columns, box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")


def add_row(table: Table, *cells: str, style: str | None = None) -> None:
    """Adds a row of texts."""
    table.add_row(*map(Text, cells), style=style)


def print_table(table: Table, *, empty: str = "", console: Console | None = None) -> None:
    """Prints a table, or what is said where it has no rows; where no terminal limits it, every row is one line."""
    console = console or text_console()
    if empty and not table.rows:
        console.print(empty, soft_wrap=True)
    elif console.is_terminal:
        console.print(narrowed(table, console.width))
    else:
        whole = io.StringIO()
        Console(file=whole, width=_UNLIMITED, color_system=None).print(table)
        lines = (line.rstrip() for line in whole.getvalue().splitlines())
        print("\n".join(lines), file=console.file)


def narrowed(table: Table, width: int) -> Table:
    """The table within a terminal's width: what is widest is broken first, and between words as long as that helps."""
    texts = [[str(made.header), *map(str, made.cells)] for made in table.columns]
    widths = [max(len(line) for text in cells for line in text.splitlines() or [""]) for cells in texts]
    least = [
        now if made.no_wrap else max((len(word) for text in cells for word in text.split()), default=0)
        for made, cells, now in zip(table.columns, texts, widths, strict=True)
    ]
    # Figures stay whole, and their headings have as many lines as they need.
    for i, made in enumerate(table.columns):
        if made.justify == "right":
            widths[i] = least[i] = max(least[i], *map(len, texts[i][1:]), 0)
    too_wide = sum(widths) + _GAP * (len(widths) - 1) - width
    while too_wide > 0 and (wide := [i for i, now in enumerate(widths) if now > least[i]]):
        widths[max(wide, key=lambda i: widths[i])] -= 1
        too_wide -= 1
    for made, now in zip(table.columns, widths, strict=True):
        made.width = now
    return table


def amounts(objective: str, trials: Iterable[Trial]) -> tuple[str, list[str]]:
    """The heading and the cells of an objective's column: what all values are per is said once."""
    found = [amount(trial.measurement(objective)) for trial in trials]
    if not any(value.endswith(_PER_IMAGE) for value in found):
        return title(objective), found
    return f"{title(objective)} per image", [value.removesuffix(_PER_IMAGE) for value in found]
