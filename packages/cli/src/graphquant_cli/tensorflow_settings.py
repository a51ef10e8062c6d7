"""What TensorFlow is told before a command imports it."""

from __future__ import annotations

import os


def prepare_tensorflow() -> None:
    """Keeps its start-up lines off the terminal, and its results the same on every processor.

    What the user's environment says counts.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
