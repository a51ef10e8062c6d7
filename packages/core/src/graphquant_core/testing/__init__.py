"""Hypothesis strategies for tests of graphquant and of its plugins.

Needs hypothesis: ``pip install graphquant-core[testing]``.
"""

from __future__ import annotations

from graphquant_core.exceptions import MissingDependencyError

try:
    import hypothesis as _  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        "graphquant_core.testing needs hypothesis: pip install graphquant-core[testing]"
    ) from error

from graphquant_core.testing.strategies import (
    activation_ranges,
    grids,
    quant_params,
    tensors,
    weight_layouts,
    weights,
)

__all__ = [
    "activation_ranges",
    "grids",
    "quant_params",
    "tensors",
    "weight_layouts",
    "weights",
]
