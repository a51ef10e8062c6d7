"""Hypothesis strategies for tests of graphquant and of its plugins.

Strategies of arrays and of broken files are here. `graphquant_core.testing.graphs` (random graphs)
and `graphquant_core.testing.check_handler` import TensorFlow and so are imported by name.

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

from graphquant_core.testing.damage import damaged
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
    "damaged",
    "grids",
    "quant_params",
    "tensors",
    "weight_layouts",
    "weights",
]
