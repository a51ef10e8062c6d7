"""The check that an array holds numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import NonFiniteError


def check_finite(values: npt.NDArray[Any], argument: str) -> None:
    """Refuses NaN and infinity in `values`.

    Raises:
        NonFiniteError: names `argument`, how many values are not finite, and the first of them.
    """
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    first = tuple(int(index) for index in np.argwhere(wrong)[0])
    raise NonFiniteError(
        f"{argument} has {np.count_nonzero(wrong)} of {values.size} values that are not finite, "
        f"the first at index {list(first)} ({values[first]})"
    )
