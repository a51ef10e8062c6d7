"""Lists and values inside of messages, which stay short whatever they hold."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

MOST_NAMES = 8
"""Names of a user's graph, record or file that a message shows."""

MOST_CHOICES = 32
"""Enough to show every vocabulary whole: keys, op types, targets."""

LONGEST = 160
"""Characters of one item."""

LONGEST_SENTENCE = 600

_values = reprlib.Repr()
_values.maxstring = _values.maxother = _values.maxlong = LONGEST
_values.maxdict = _values.maxlist = _values.maxtuple = _values.maxset = MOST_NAMES
_values.maxfrozenset = _values.maxarray = _values.maxdeque = MOST_NAMES
_values.maxlevel = 1


def listed(items: Iterable[object], *, most: int = MOST_NAMES, nothing: str = "none") -> str:
    """``'a, b, and 29998 more'``: the first `most` of `items`, and how many follow.

    Args:
        items: What is listed; each is cut to 160 characters.
        most: How many are shown.
        nothing: What stands for no item.
    """
    return ", ".join(_first(map(_item, items), most, "and ")) or nothing


def listed_names(names: Iterable[object], *, most: int = MOST_NAMES, nothing: str = "none") -> str:
    """`listed`, each name in double quotes: ``'"conv1", "conv2", and 3 more'``."""
    return ", ".join(_first((f'"{_item(name)}"' for name in names), most, "and ")) or nothing


def sentences(items: Iterable[str], *, most: int = MOST_NAMES) -> str:
    """``'it is float64; it is in a loop; and 7 more'``, each cut to 600 characters."""
    return "; ".join(_first((short(item, LONGEST_SENTENCE) for item in items), most, "and "))


def choices(items: Iterable[object], nothing: str = "none") -> str:
    """`listed`, for what is allowed: up to 32 of them."""
    return listed(items, most=MOST_CHOICES, nothing=nothing)


def either(items: Iterable[object], nothing: str = "none") -> str:
    """``'a, b or c'``: up to 32 of `items`."""
    texts = _first(map(_item, items), MOST_CHOICES, "")
    return " or ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:]))) or nothing


def short(text: str, longest: int = LONGEST) -> str:
    """`text` cut to 160 characters; a lone surrogate, which can't be printed, is escaped."""
    cut = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return cut.encode(errors="backslashreplace").decode()


def brief_repr(value: object) -> str:
    """``repr(value)``, of which at most 8 items and 160 characters of each are left.

    The type alone where there is no repr: Python refuses that of a number of 5,000 digits.
    """
    try:
        return _values.repr(value)
    except ValueError:
        return type(value).__name__


def _item(item: object) -> str:
    return short(str(item))


def _first(texts: Iterable[str], most: int, before_rest: str) -> list[str]:
    every = list(texts)
    if len(every) <= most:
        return every
    return [*every[:most], f"{before_rest}{len(every) - most} more"]
