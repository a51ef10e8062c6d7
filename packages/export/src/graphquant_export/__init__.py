"""Quantised models for the runtimes that run them, and the proof that they do.

``load_model``, ``quantize``, ``export``, ``verify`` and ``write_report`` go from a model file to a
verified artifact. Importing this package starts no TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_core.record import (
        LayerFactors,
        Record,
        format_record,
        parse_record,
        read_record,
        validate_record,
        write_record,
    )
    from graphquant_export.inputs import LoadedModel, load_model, load_samples
    from graphquant_export.quantized.simulate import simulate
    from graphquant_export.quantized.target_simulation import simulate_target
    from graphquant_export.report import write_report
    from graphquant_export.verification import Limits, Verification, verify
    from graphquant_export.workflow import export, open_artifact, quantize

__all__ = [
    "LayerFactors",
    "Limits",
    "LoadedModel",
    "Record",
    "Verification",
    "__version__",
    "export",
    "format_record",
    "load_model",
    "load_samples",
    "open_artifact",
    "parse_record",
    "quantize",
    "read_record",
    "simulate",
    "simulate_target",
    "validate_record",
    "verify",
    "write_record",
    "write_report",
]

__version__ = version("graphquant-export")

_ROOMS = {
    "graphquant_core.record": (
        "LayerFactors",
        "Record",
        "format_record",
        "parse_record",
        "read_record",
        "validate_record",
        "write_record",
    ),
    "graphquant_export.inputs": ("LoadedModel", "load_model", "load_samples"),
    "graphquant_export.quantized.simulate": ("simulate",),
    "graphquant_export.quantized.target_simulation": ("simulate_target",),
    "graphquant_export.report": ("write_report",),
    "graphquant_export.verification": ("Limits", "Verification", "verify"),
    "graphquant_export.workflow": ("export", "open_artifact", "quantize"),
}

__getattr__ = lazy_names(__name__, {name: room for room, names in _ROOMS.items() for name in names})
