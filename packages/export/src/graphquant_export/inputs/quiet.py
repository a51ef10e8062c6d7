"""TensorFlow's own log lines, held back while a model is loaded or frozen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Lets through nothing but errors."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
