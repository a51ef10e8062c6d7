"""Weight-only quantisation of TensorFlow graphs, with the calls of MNN's mnncompress.

``from graphquant_wq import WeightQuantizer, strip_wq_ops`` stands for
``from mnncompress.tensorflow.weight_quantizer import WeightQuantizer, strip_wq_ops``. The names
are loaded when they are first used, so that importing this package doesn't import TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_core.graph.distillation import distillation_loss
    from graphquant_core.graph.restore import restore_float_checkpoint
    from graphquant_wq.batch_norm import reestimate_batch_norm
    from graphquant_wq.frozen_weights import quantize_frozen_weights
    from graphquant_wq.strip import strip_wq_ops
    from graphquant_wq.weight_quantizer import WeightQuantizer

__all__ = [
    "WeightQuantizer",
    "__version__",
    "distillation_loss",
    "quantize_frozen_weights",
    "reestimate_batch_norm",
    "restore_float_checkpoint",
    "strip_wq_ops",
]

__version__ = version("graphquant-wq")

__getattr__ = lazy_names(
    __name__,
    {
        "WeightQuantizer": ".weight_quantizer",
        "distillation_loss": "graphquant_core.graph.distillation",
        "quantize_frozen_weights": ".frozen_weights",
        "reestimate_batch_norm": ".batch_norm",
        "restore_float_checkpoint": "graphquant_core.graph.restore",
        "strip_wq_ops": ".strip",
    },
)
