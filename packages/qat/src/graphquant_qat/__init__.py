"""Quantisation-aware training of TensorFlow graphs, with the calls of Ascend's AMCT.

``import graphquant_qat as amct`` stands for ``import amct_tensorflow as amct``. The names are
loaded when they are first used, so that importing this package doesn't import TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_core.graph.distillation import distillation_loss
    from graphquant_core.graph.restore import restore_float_checkpoint
    from graphquant_qat.convert_model import convert_qat_model
    from graphquant_qat.create_config import create_quant_retrain_config
    from graphquant_qat.create_model import create_quant_retrain_model
    from graphquant_qat.log import set_logging_level
    from graphquant_qat.save_model import save_quant_retrain_model
    from graphquant_qat.step_units import in_step_units

__all__ = [
    "__version__",
    "convert_qat_model",
    "create_quant_retrain_config",
    "create_quant_retrain_model",
    "distillation_loss",
    "in_step_units",
    "restore_float_checkpoint",
    "save_quant_retrain_model",
    "set_logging_level",
]

__version__ = version("graphquant-qat")

__getattr__ = lazy_names(
    __name__,
    {
        "convert_qat_model": ".convert_model",
        "create_quant_retrain_config": ".create_config",
        "create_quant_retrain_model": ".create_model",
        "distillation_loss": "graphquant_core.graph.distillation",
        "in_step_units": ".step_units",
        "restore_float_checkpoint": "graphquant_core.graph.restore",
        "save_quant_retrain_model": ".save_model",
        "set_logging_level": ".log",
    },
)
