"""Warnings of the packages, and on demand what else they log, as lines on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from graphquant_cli.output import print_note, print_warning

_PACKAGES = tuple(f"graphquant_{name}" for name in ("core", "export", "qat", "wq", "tune"))


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            print_note(record.getMessage())
        else:
            print_warning(record.getMessage())


@contextlib.contextmanager
def printed_log(verbose: bool) -> Iterator[None]:
    """Lets what graphquant's packages warn of be printed as ``warning: ...``.

    Args:
        verbose: Whether what they log at level INFO is printed, too, as ``note: ...``.
    """
    level = logging.INFO if verbose else logging.WARNING
    printer = _Printer(level)
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [(logger, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        if verbose:
            logger.setLevel(level)
        logger.addHandler(printer)
        # A library gives the root logger a handler now and then: it would print each line again.
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate, level in before:
            logger.removeHandler(printer)
            logger.propagate = propagate
            logger.setLevel(level)
