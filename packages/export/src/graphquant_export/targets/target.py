"""The export targets of this package. Importing it is cheap: TensorFlow comes in when one is used.

Each has a room of its own with a module ``entry``, which has three functions: ``export``, ``open``
and ``runtime``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from graphquant_core.export_options import ExportOption, OptionValue, check_option_names
from graphquant_export.targets.save_path import ENDINGS

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.exporter import Artifact, ExportSource
    from graphquant_core.runtime import Runtime
    from graphquant_core.target_rules import TargetRules
    from graphquant_core.weight_record import Factors
    from graphquant_export.quantized.exact_sums import IntegerOps
    from graphquant_export.targets.mnn.compress_params import LayerParams


class Entry(Protocol):
    """The module ``entry`` of a target.

    Attributes:
        integer_ops: The ops of its graphs of integers, of a target that has such graphs.
    """

    integer_ops: IntegerOps

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Factors,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
        **options: OptionValue,
    ) -> Artifact:
        """Writes the files."""
        ...

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> Artifact:
        """Finds them again."""
        ...

    def runtime(self, artifact: Artifact) -> Runtime:
        """Runs them."""
        ...


@attrs.frozen
class Target:
    """One export target.

    Attributes:
        name: Its name, and that of its room.
        options: The keywords that its `export` takes besides.
        weights_alone: Whether it has models with quantised weights alone.
        graphs_of_integers: Whether its files are TensorFlow graphs, with ops of its own.
    """

    name: str
    options: tuple[ExportOption, ...] = ()
    weights_alone: bool = True
    graphs_of_integers: bool = False

    @property
    def endings(self) -> tuple[str, ...]:
        """What the names of its files end in."""
        return ENDINGS[self.name]

    @property
    def rules(self) -> TargetRules:
        """What it rounds."""
        from graphquant_export.targets import rules

        found: TargetRules = getattr(rules, self.name.upper())
        return found

    @property
    def integer_ops(self) -> IntegerOps | None:
        """The ops of its graphs of integers; ``None`` where it has no such graphs."""
        if not self.graphs_of_integers:
            return None
        found: IntegerOps = self._entry.integer_ops
        return found

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Factors | Iterable[LayerParams],
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
        **options: OptionValue,
    ) -> Artifact:
        """Writes the files, as the function ``export`` of its ``entry`` says.

        Instead of a WeightRecord it also takes LayerParams, which MNN's files hold.

        Raises:
            ConfigError: `options` has one that the target hasn't; lists those it has.
        """
        check_option_names(self.name, self.options, options)
        factors = self._factors(model, outputs, record)
        return self._entry.export(
            model, outputs, factors, save_path, calibration=calibration, **options
        )

    def runtime(self, artifact: Artifact) -> Runtime:
        """What runs `artifact`, which this target made."""
        return self._entry.runtime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> Artifact:
        """The artifact that was exported to `save_path`."""
        factors = self._factors(source.model, source.outputs, source.record)
        if factors is not source.record:
            source = attrs.evolve(source, record=factors)
        return self._entry.open(save_path, source)

    def _factors(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Factors | Iterable[LayerParams],
    ) -> Factors:
        """`record` by the names of TensorFlow."""
        from graphquant_core.record import Record
        from graphquant_core.weight_record import WeightRecord

        known = isinstance(record, Record | WeightRecord) or not self.weights_alone
        # What is no list of parameters either, the target refuses.
        if known or isinstance(record, str | Mapping) or not isinstance(record, Iterable):
            return cast("Factors", record)
        from graphquant_export.targets.mnn.weight_params import weight_record

        return weight_record(model, outputs, record)

    @property
    def _entry(self) -> Entry:
        return cast("Entry", importlib.import_module(f"{__package__}.{self.name}.entry"))


ASCEND = Target("ascend", weights_alone=False, graphs_of_integers=True)
MNN = Target("mnn")
ONNX = Target(
    "onnx",
    (
        ExportOption("opset", int, "Version of ONNX's operators."),
        ExportOption("activations", str, "Type of int8 models' activations.", ("int8", "uint8")),
    ),
)
LITERT = Target(
    "litert",
    (ExportOption("integer_io", bool, "Whether inputs and outputs are int8 where they can be."),),
)
