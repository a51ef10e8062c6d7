"""Quantisation-aware training of TensorFlow graphs, with the calls of Ascend's AMCT.

``import graphquant_qat as amct`` stands for ``import amct_tensorflow as amct``. The names are
loaded when they are first used, so that importing this package doesn't import TensorFlow.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphquant_qat.create_config import create_quant_retrain_config
    from graphquant_qat.create_model import create_quant_retrain_model
    from graphquant_qat.log import set_logging_level
    from graphquant_qat.restore import restore_float_checkpoint
    from graphquant_qat.save_model import save_quant_retrain_model

__all__ = [
    "__version__",
    "create_quant_retrain_config",
    "create_quant_retrain_model",
    "restore_float_checkpoint",
    "save_quant_retrain_model",
    "set_logging_level",
]

__version__ = version("graphquant-qat")

_MODULES = {
    "create_quant_retrain_config": "create_config",
    "create_quant_retrain_model": "create_model",
    "restore_float_checkpoint": "restore",
    "save_quant_retrain_model": "save_model",
    "set_logging_level": "log",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
