"""Warnings that are kept back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def nothing_said(*packages: str) -> Iterator[None]:
    """Keeps back the warnings of `packages`: of what is tried and thrown away, and of repetitions.

    What is said of it is said of the real one.
    """
    loggers = [logging.getLogger(package) for package in packages]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
