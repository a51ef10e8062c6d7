"""Warnings of the packages, as lines on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from graphquant_cli.output import print_warning

_PACKAGES = ("graphquant_core", "graphquant_export", "graphquant_qat", "graphquant_wq")


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_warning(record.getMessage())


@contextlib.contextmanager
def printed_warnings() -> Iterator[None]:
    """Lets what graphquant's packages warn of be printed as ``warning: ...``."""
    printer = _Printer(logging.WARNING)
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    propagated = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(printer)
        # A library gives the root logger a handler now and then: it would print each line again.
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, propagated, strict=True):
            logger.removeHandler(printer)
            logger.propagate = propagate
