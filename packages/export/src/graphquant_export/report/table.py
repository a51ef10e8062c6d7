"""Tables whose rows a reader can sort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from graphquant_export.report.elements import Element, broken, element


@attrs.frozen
class Column:
    """A column.

    Attributes:
        title: What stands above it.
        numeric: Whether its cells are numbers.
        css: Classes of its cells.
        group: What stands above the titles of it and of its neighbours with the same group.
    """

    title: str
    numeric: bool = False
    css: str = ""
    group: str = ""

    @property
    def classes(self) -> str:
        """Classes of a cell."""
        return " ".join(filter(None, (self.css, "number" if self.numeric else "")))


Cell = str | tuple[str, float | None]
"""Text, or text with the number that it is sorted by."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Element:
    """A table that scrolls sideways where it is too wide, its first column staying in sight."""
    heads = [_titles(columns)]
    if any(column.group for column in columns):
        heads.insert(0, _groups(columns))
    body = element("tbody", *(_row(columns, row) for row in rows))
    made = element("table", element("thead", *heads), body, class_="sortable")
    return element("div", made, class_="scroll", tabindex="0")


def _titles(columns: Sequence[Column]) -> Element:
    cells = (element("th", column.title, class_=column.classes, scope="col") for column in columns)
    return element("tr", *cells)


def _groups(columns: Sequence[Column]) -> Element:
    cells: list[Element] = []
    start = 0
    while start < len(columns):
        group = columns[start].group
        stop = start
        while stop < len(columns) and columns[stop].group == group:
            stop += 1
        css = "group" if group else columns[start].css
        cells.append(element("th", group, class_=css, colspan=str(stop - start), scope="colgroup"))
        start = stop
    return element("tr", *cells)


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> Element:
    return element("tr", *map(_cell, columns, row, range(len(row))))


def _cell(column: Column, cell: Cell, index: int) -> Element:
    tag, scope = ("th", {"scope": "row"}) if index == 0 else ("td", {})
    if isinstance(cell, str):
        return element(tag, *broken(cell), class_=column.classes, **scope)
    text, value = cell
    key = "" if value is None else repr(value)
    return element(tag, text, class_=column.classes, data_sort=key, **scope)
