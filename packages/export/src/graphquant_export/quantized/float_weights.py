"""Which layers of a weight-only model keep their weight in float, and why."""

from __future__ import annotations

import logging
from collections.abc import Collection

from graphquant_core.float_layers import warn_of_float_layers, without_asides
from graphquant_core.layer import Skip
from graphquant_core.plan import Plan

NO_ENTRY = "the record has no entry for it"
FOLDED = "what is folded into its weight is not the same for all weights of a group"


def warn_of_float_weights(
    logger: logging.Logger,
    plan: Plan,
    quantized: Collection[str],
    target: str,
    folded: Collection[str] = (),
) -> None:
    """Logs once how many layers with a weight keep it in float, and why.

    Args:
        logger: Logger of the target.
        plan: Plan of the frozen graph.
        quantized: Names of the layers that are quantised.
        target: What runs the model.
        folded: Names of layers among them whose groups a folded batch norm took off their grids.
    """
    rows = without_asides(plan.rows)
    floats = []
    for row in rows:
        if isinstance(row, Skip):
            floats.append(row)
        elif row.name in folded or row.name not in quantized:
            reason = FOLDED if row.name in folded else NO_ENTRY
            floats.append(Skip(row.name, row.op_type, reason))
    warn_of_float_layers(logger, floats, len(rows), target)
