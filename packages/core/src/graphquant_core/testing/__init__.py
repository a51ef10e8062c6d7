"""Hypothesis strategies for tests of graphquant and of its plugins, and the check of a handler.

`check_handler` is loaded when it is first used: it imports TensorFlow, as does
`graphquant_core.testing.graphs` (random graphs), which is imported by name.

Needs hypothesis: ``pip install graphquant-core[testing]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.exceptions import MissingDependencyError
from graphquant_core.lazy_names import lazy_names

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

if TYPE_CHECKING:
    from graphquant_core.testing.handler_contract import check_handler

__all__ = [
    "activation_ranges",
    "check_handler",
    "damaged",
    "grids",
    "quant_params",
    "tensors",
    "weight_layouts",
    "weights",
]

__getattr__ = lazy_names(__name__, {"check_handler": ".handler_contract"})
