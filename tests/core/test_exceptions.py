"""Error classes."""

from __future__ import annotations

import builtins
import inspect

import pytest

from graphquant_core import exceptions
from graphquant_core.exceptions import FileWriteError, GraphQuantError

CLASSES = [
    value
    for value in vars(exceptions).values()
    if inspect.isclass(value) and value is not GraphQuantError
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_is_ours_and_a_builtin_one(error: type[Exception]) -> None:
    """Each class derives from GraphQuantError and from a builtin more exact than Exception."""
    base_builtins = {
        base for base in error.__mro__ if vars(builtins).get(base.__name__) is base
    } - {Exception, BaseException, object}
    assert issubclass(error, GraphQuantError)
    assert base_builtins
    assert error.__doc__


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_prints_its_message(error: type[Exception]) -> None:
    """str(error) is the message alone, also for subclasses of OSError and ImportError."""
    assert str(error("layer conv1 (3)")) == "layer conv1 (3)"


def test_write_errors_are_caught_as_os_errors() -> None:
    """`except OSError` catches FileWriteError."""
    with pytest.raises(OSError, match="full"):
        raise FileWriteError("disk is full")
