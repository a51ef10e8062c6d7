"""Elements of a page; everything that is text gets escaped when the page is written."""

from __future__ import annotations

import unicodedata
from xml.etree import ElementTree as ET

Element = ET.Element


def element(tag: str, *content: str | Element, **attributes: str) -> Element:
    """``<tag attributes>content</tag>``; ``class_`` is ``class``, ``data_x`` is ``data-x``."""
    named = {key.rstrip("_").replace("_", "-"): _clean(v) for key, v in attributes.items()}
    result = ET.Element(tag, named)
    last: Element | None = None
    for part in content:
        if isinstance(part, str):
            if last is None:
                result.text = (result.text or "") + _clean(part)
            else:
                last.tail = (last.tail or "") + _clean(part)
        else:
            result.append(part)
            last = part
    return result


def broken(name: str) -> list[str | Element]:
    """`name` with places where a line may end: behind each slash."""
    parts: list[str | Element] = []
    for index, part in enumerate(name.split("/")):
        if index:
            parts += ["/", element("wbr")]
        parts.append(part)
    return parts


def as_html(root: Element) -> str:
    """The document with the element `root`."""
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _clean(text: str) -> str:
    """`text` without control characters, which no HTML may hold."""
    return "".join(
        "\ufffd" if unicodedata.category(sign) == "Cc" and sign not in "\n\t" else sign
        for sign in text
    )
