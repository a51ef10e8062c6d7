"""What another package adds to a page: sections, and the data that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from graphquant_export.report.elements import Element, element


@attrs.frozen
class Section:
    """A part of a page.

    Attributes:
        title: What stands above it; ``""`` for none.
        note: How to read it, in a sentence or two; ``""`` for none.
        content: What it shows.
    """

    title: str
    note: str
    content: Element

    def as_element(self) -> Element:
        """The section."""
        parts = [element("h2", self.title)] if self.title else []
        if self.note:
            parts.append(element("p", self.note, class_="note"))
        return element("section", *parts, self.content)


@attrs.frozen
class Chapter:
    """Sections in front of those of the verifications.

    Attributes:
        key: What `data` is called in the JSON beside the page.
        data: Plain data, without NaN or infinity.
        sections: Makes the sections of the data.
    """

    key: str
    data: Mapping[str, Any]
    sections: Callable[[Mapping[str, Any]], Sequence[Section]]
