"""Quantisation-aware training of TensorFlow graphs behind the AMCT API."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("graphquant-qat")
