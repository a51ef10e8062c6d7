"""Graph view, rewiring, layers, plan, grids and plugin registry of graphquant."""

from __future__ import annotations

from importlib.metadata import version

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.grid import Grid
from graphquant_core.hookspecs import hookimpl, hookspec
from graphquant_core.quant_params import QuantParams
from graphquant_core.quantize import dequantize, fake_quantize, quantize
from graphquant_core.registry import Registry, load_registry

__all__ = [
    "GraphQuantError",
    "Grid",
    "QuantParams",
    "Registry",
    "__version__",
    "dequantize",
    "fake_quantize",
    "hookimpl",
    "hookspec",
    "load_registry",
    "quantize",
]

__version__ = version("graphquant-core")
