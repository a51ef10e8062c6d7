"""The best quantisation of a frozen TensorFlow graph that needs no labels.

The names are loaded when they are first used, so that importing this package doesn't import
TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_tune.chapter import report_chapter
    from graphquant_tune.measure import sensitivity
    from graphquant_tune.result import TunedModel
    from graphquant_tune.tuning import tune

__all__ = ["TunedModel", "__version__", "report_chapter", "sensitivity", "tune"]

__version__ = version("graphquant-tune")

__getattr__ = lazy_names(
    __name__,
    {
        "TunedModel": ".result",
        "report_chapter": ".chapter",
        "sensitivity": ".measure",
        "tune": ".tuning",
    },
)
