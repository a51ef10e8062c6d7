"""Weight-only quantisation of TensorFlow graphs behind the MNN API."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("graphquant-wq")
