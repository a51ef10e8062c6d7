"""The export targets of this package. Importing it is cheap: TensorFlow comes in when one is used.

Each has a room of its own with a module ``entry``, which has three functions: ``export``, ``open``
and ``runtime``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs

from graphquant_core.export_options import ExportOption, OptionValue, check_option_names
from graphquant_export.targets.save_path import ENDINGS

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.exporter import Artifact, ExportSource
    from graphquant_core.runtime import Runtime
    from graphquant_core.target_rules import TargetRules
    from graphquant_export.quantized.exact_sums import IntegerOps


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
        record: Any,
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
        graphs_of_integers: Whether its files are TensorFlow graphs, with ops of its own.
    """

    name: str
    options: tuple[ExportOption, ...] = ()
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
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
        **options: OptionValue,
    ) -> Artifact:
        """Writes the files, as the function ``export`` of its ``entry`` says.

        Raises:
            ConfigError: `options` has one that the target hasn't; lists those it has.
        """
        check_option_names(self.name, self.options, options)
        return self._entry.export(
            model, outputs, record, save_path, calibration=calibration, **options
        )

    def runtime(self, artifact: Artifact) -> Runtime:
        """What runs `artifact`, which this target made."""
        return self._entry.runtime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> Artifact:
        """The artifact that was exported to `save_path`."""
        return self._entry.open(save_path, source)

    @property
    def _entry(self) -> Entry:
        return cast("Entry", importlib.import_module(f"{__package__}.{self.name}.entry"))


ASCEND = Target("ascend", graphs_of_integers=True)
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
