"""Graph view, rewiring, layers, plan, grids and plugin registry of graphquant.

The names are loaded when they are first used: reading a record or printing a help text needs
neither NumPy nor TensorFlow. The formulas over arrays are in
`graphquant_core.quantize`; what works on a tf.Graph is in `graphquant_core.graph`.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core import lazy_names as _lazy

if TYPE_CHECKING:
    from graphquant_core.exceptions import GraphQuantError
    from graphquant_core.grid import Grid
    from graphquant_core.handler import LayerHandler
    from graphquant_core.hookspecs import hookimpl
    from graphquant_core.layer import Layer, Skip
    from graphquant_core.plan import Plan
    from graphquant_core.quant_params import QuantParams
    from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
    from graphquant_core.registry import Registry, load_registry

__all__ = [
    "FakeQuantized",
    "GraphQuantError",
    "Grid",
    "Layer",
    "LayerHandler",
    "Plan",
    "QuantParams",
    "QuantizerRequest",
    "Registry",
    "Skip",
    "__version__",
    "hookimpl",
    "load_registry",
]

__version__ = version("graphquant-core")

__getattr__ = _lazy.lazy_names(
    __name__,
    {
        "FakeQuantized": ".quantizers",
        "GraphQuantError": ".exceptions",
        "Grid": ".grid",
        "Layer": ".layer",
        "LayerHandler": ".handler",
        "Plan": ".plan",
        "QuantParams": ".quant_params",
        "QuantizerRequest": ".quantizers",
        "Registry": ".registry",
        "Skip": ".layer",
        "hookimpl": ".hookspecs",
        "load_registry": ".registry",
    },
)
