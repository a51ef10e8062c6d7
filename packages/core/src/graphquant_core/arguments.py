"""What callers give for a number or a flag: Python's own or NumPy's."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphquant_core.exceptions import ConfigError, GraphQuantError
from graphquant_core.listing import brief_repr


def as_integer(value: object) -> int | None:
    """`value` as an int, when it is an integer of Python or NumPy; a bool is none."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def as_bool(value: object) -> bool | None:
    """`value` as a bool, when it is one of Python or NumPy."""
    return bool(value) if isinstance(value, (bool, np.bool_)) else None


def checked_integer(
    argument: str,
    value: object,
    low: int,
    high: int | None = None,
    error: type[GraphQuantError] = ConfigError,
) -> int:
    """`value` as an int from `low` to `high`, or of `low` or more.

    Raises:
        GraphQuantError: It is something else; the error is of the type `error`.
    """
    number = as_integer(value)
    if number is None or number < low or (high is not None and number > high):
        allowed = f"of {low} or more" if high is None else f"from {low} to {high}"
        raise error(f"{argument} ({brief_repr(value)}) must be an integer {allowed}")
    return number


def checked_bool(argument: str, value: object) -> bool:
    """`value` as a bool.

    Raises:
        ConfigError: It is none.
    """
    flag = as_bool(value)
    if flag is None:
        raise ConfigError(f"{argument} ({brief_repr(value)}) must be True or False")
    return flag


def builtin_number(value: Any) -> Any:
    """`value` as an int when it is NumPy's; anything else as it is."""
    number = as_integer(value)
    return value if number is None else number
