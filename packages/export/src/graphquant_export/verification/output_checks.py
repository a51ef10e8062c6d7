"""Comparison of one output, batch by batch, with its accuracy on labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, RangeError
from graphquant_core.graph.frozen import tensor_name
from graphquant_core.suggestions import closest
from graphquant_export.verification.checks import Accuracy, OutputCheck
from graphquant_export.verification.comparison import Comparing
from graphquant_export.verification.limits import Limits
from graphquant_export.verification.near_ties import NearTies

Array = npt.NDArray[Any]


def checked_labels(
    labels: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None, outputs: Sequence[str]
) -> dict[str, Array]:
    """Classes by output; those of an array alone belong to the first output.

    Raises:
        ConfigError: `labels` name no output.
        RangeError: They are no integers of 0 or more.
    """
    if labels is None:
        return {}
    given = labels if isinstance(labels, Mapping) else {outputs[0]: labels}
    found = {}
    for key, value in given.items():
        name = tensor_name(str(key))
        if name not in outputs:
            raise ConfigError(f'labels: "{name}" is no output of the model{closest(name, outputs)}')
        classes = np.asarray(value)
        if classes.dtype.kind not in "iu" or classes.ndim == 0:
            raise RangeError(
                f'labels of "{name}" ({classes.dtype}, shape {list(classes.shape)}) must be '
                "integers, one class for each row of the output"
            )
        if classes.size and classes.min() < 0:
            raise RangeError(f'labels of "{name}" ({classes.min()}) must be 0 or more')
        found[name] = classes
    return found


class OutputComparing:
    """Adds up an `OutputCheck` from batches.

    Args:
        name: Name of the output.
        step: Step of its grid in the artifact; ``None`` when it is float.
        labels: Class of each row, ``None`` without.
        limits: What says which rows are near ties, where it holds class scores; ``None`` where not.
        simulated: Whether the frozen graph has fake quantisers; else it is the float model itself.
    """

    def __init__(
        self,
        name: str,
        step: float | None,
        labels: Array | None,
        limits: Limits | None = None,
        simulated: bool = True,
    ) -> None:
        self._name = name
        self._labels = labels
        self._near_ties = None if limits is None else NearTies(limits)
        self._simulation = Comparing(name, step, on_grid=simulated)
        self._reference = Comparing(name, step)
        self._own = Comparing(name, step)
        self._float_model = Comparing(name, step, on_grid=False)
        self._right = {"simulation": 0, "reference": 0, "runtime": 0}
        self._rows = 0
        self._start = 0

    def add(
        self,
        runtime: Array,
        simulation: Array,
        reference: Array | None,
        float_model: Array | None = None,
        own: Array | None = None,
    ) -> None:
        """Adds a batch of values of the output; `own` is what it should be for its layers' results.

        Raises:
            ModelFileError: The artifact's shape is another.
            RangeError: The labels don't fit.
        """
        self._simulation.add(runtime, simulation)
        if reference is not None:
            self._reference.add(runtime, reference)
        if float_model is not None:
            self._float_model.add(runtime, float_model)
        if own is not None:
            self._own.add(runtime, own)
        if self._near_ties is not None:
            self._near_ties.add(runtime, simulation if reference is None else reference)
        if self._labels is None:
            return
        labels = self._next_labels(self._labels, simulation)
        values = {"simulation": simulation, "reference": reference, "runtime": runtime}
        for key, value in values.items():
            if value is not None:
                self._right[key] += int(np.count_nonzero(value.argmax(-1) == labels))
        self._rows += labels.size

    def _next_labels(self, labels: Array, output: Array) -> Array:
        rows = output.shape[:-1]
        stop = self._start + (rows[0] if rows else 0)
        part = labels[self._start : stop]
        if not rows or part.shape != rows:
            raise RangeError(
                f'labels of "{self._name}" have the shape {list(labels.shape)}, which does not '
                f"fit: rows {self._start} to {stop} of the output have the shape {list(rows)}"
            )
        if part.size and part.max() >= output.shape[-1]:
            raise RangeError(
                f'labels of "{self._name}" ({part.max()}) must be below {output.shape[-1]}, its '
                "number of classes"
            )
        self._start = stop
        return part

    def result(self) -> OutputCheck:
        """The check of everything that was added.

        Raises:
            RangeError: There are more labels than rows.
        """
        if self._labels is not None and self._start != len(self._labels):
            raise RangeError(
                f'labels of "{self._name}": there are {len(self._labels)}, but {self._start} rows'
            )
        reference = self._reference.result()
        used = reference if reference.values else None
        simulation = self._simulation.result()
        unquantized = self._float_model.result()
        own = self._own.result()
        ties = self._near_ties
        return OutputCheck(
            self._name,
            simulation,
            used,
            self._accuracy(used),
            unquantized if unquantized.values else None,
            ties is not None,
            0 if ties is None else ties.count((used or simulation).step),
            own if own.values else None,
        )

    def _accuracy(self, reference: object | None) -> Accuracy | None:
        if not self._rows:
            return None
        share = {name: right / self._rows for name, right in self._right.items()}
        return Accuracy(
            share["simulation"], None if reference is None else share["reference"], share["runtime"]
        )
