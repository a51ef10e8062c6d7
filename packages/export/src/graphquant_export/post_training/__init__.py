"""Quantisation of a trained float model, from a few inputs and without training.

Importing this starts no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names
from graphquant_export.post_training.estimators import ESTIMATORS, range_estimator

if TYPE_CHECKING:
    from graphquant_export.post_training.equalize import equalized
    from graphquant_export.post_training.quantize import quantize_post_training

__all__ = ["ESTIMATORS", "equalized", "quantize_post_training", "range_estimator"]

__getattr__ = lazy_names(
    __name__, {"equalized": ".equalize", "quantize_post_training": ".quantize"}
)
