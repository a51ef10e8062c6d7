"""How long work tells of its progress."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int, str], object]
"""Called with (what is being done, how much of it is, how much there is, a remark)."""


def silent(*_: object) -> None:
    """Tells nothing."""
