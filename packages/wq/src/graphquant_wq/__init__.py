"""Weight-only quantisation of TensorFlow graphs, with the calls of MNN's mnncompress.

``from graphquant_wq import WeightQuantizer, strip_wq_ops`` stands for
``from mnncompress.tensorflow.weight_quantizer import WeightQuantizer, strip_wq_ops``. The names
are loaded when they are first used, so that importing this package doesn't import TensorFlow.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphquant_wq.batch_norm import reestimate_batch_norm
    from graphquant_wq.strip import strip_wq_ops
    from graphquant_wq.weight_quantizer import WeightQuantizer

__all__ = ["WeightQuantizer", "__version__", "reestimate_batch_norm", "strip_wq_ops"]

__version__ = version("graphquant-wq")

_MODULES = {
    "WeightQuantizer": "weight_quantizer",
    "reestimate_batch_norm": "batch_norm",
    "strip_wq_ops": "strip",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
