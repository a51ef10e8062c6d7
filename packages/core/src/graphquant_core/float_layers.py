"""What is said of layers that stay float: once, in one line, however many they are."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from graphquant_core.layer import Aside, Layer, Skip
from graphquant_core.listing import sentences, short

SHOWN = 3


def float_reasons(floats: Iterable[Skip], most: int = SHOWN) -> str:
    """``'"fc" (MatMul): its weight …; "up" (Conv3D): …; and 5 more'``."""
    texts = (f'"{short(skip.name)}" ({skip.op_type}): {skip.reason}' for skip in floats)
    return sentences(texts, most=most)


def without_asides(rows: Iterable[Layer | Skip]) -> list[Layer | Skip]:
    """The rows of a plan that are layers of the model."""
    return [row for row in rows if not isinstance(row, Aside)]


def warn_of_float_layers(
    logger: logging.Logger,
    floats: Collection[Skip],
    total: int,
    where: str = "",
    listing: str = "",
) -> None:
    """Logs one warning: how many of how many layers stay float, and why the first three do.

    Each of them is logged as well, at level INFO.

    Args:
        logger: Logger of the module that leaves them float.
        floats: The layers that stay float; nothing is logged when there are none.
        total: Layers of the model.
        where: What computes them in floats, such as ``"LiteRT"``.
        listing: What lists all of them, for the warning; by default the level INFO.
    """
    if not floats:
        return
    place = f" in {where}" if where else ""
    package = logger.name.partition(".")[0]
    listing = listing or f'level INFO of the logger "{package}", or graphquant --verbose,'
    logger.warning(
        "%d of %d layers %s float%s: %s (%s lists all)",
        len(floats),
        total,
        "stays" if len(floats) == 1 else "stay",
        place,
        float_reasons(floats),
        listing,
    )
    for skip in floats:
        logger.info(
            'layer "%s" (%s) stays float%s: %s', skip.name, skip.op_type, place, skip.reason
        )
