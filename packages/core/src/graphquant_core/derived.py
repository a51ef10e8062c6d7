"""What is computed of an object once, and kept as long as the object lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

Self = TypeVar("Self", bound="Keeping")
Value = TypeVar("Value")


@attrs.frozen(eq=False)
class Keeping:
    """An object that keeps what is derived of it."""

    _kept: dict[Callable[[Any], object], object] = attrs.field(factory=dict, init=False, repr=False)

    def derived(self: Self, build: Callable[[Self], Value]) -> Value:
        """``build(self)``: built when it is asked for first, and the same object from then on.

        `build` is a function of a module, and what it returns has no reference to the object.

        Raises: what `build` raises; then nothing is kept.
        """
        if build not in self._kept:
            self._kept[build] = build(self)
        return cast("Value", self._kept[build])
