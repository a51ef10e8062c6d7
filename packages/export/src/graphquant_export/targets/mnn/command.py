"""The command line of MNN's converter, as data."""

from __future__ import annotations

import os
import shlex

import attrs

PROGRAM = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"
"""Runs the converter without importing `MNN.tools`, which would install a package and report."""


def _text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@attrs.frozen
class ConverterCommand:
    """The arguments that convert one frozen graph, or give a converted model its integers.

    The compression parameters say everything about the quantisation; layers that they don't name
    stay float. So neither ``--weightQuantBits`` nor ``--weightQuantAsymmetric`` is needed, whose
    defaults have changed between versions of MNN.

    The converter keeps the weights of a large MatMul outside of the model while it optimises a
    graph, and then quantises a layer with int8 parameters without them. A model that it has written
    has them inside: a ``.mnn`` as `model_file` is quantised as it stands.

    Attributes:
        model_file: The frozen graph, or a model without integers, whose name ends in ``.mnn``.
        mnn_file: The model to write.
        params_file: The compression parameters; ``None`` converts without quantising.
    """

    model_file: str = attrs.field(converter=_text)
    mnn_file: str = attrs.field(converter=_text)
    params_file: str | None = attrs.field(default=None, converter=attrs.converters.optional(_text))

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the program's name."""
        converted = self.model_file.endswith(".mnn")
        given = ["-f", "MNN" if converted else "TF", "--modelFile", self.model_file]
        given += ["--MNNModel", self.mnn_file, "--bizCode", "MNN"]
        # Else a MatMul whose weight more than four of them share stays one, with a float weight.
        given += ["--optimizeLevel", "0"] if converted else ["--optimizePrefer", "2"]
        if self.params_file is not None:
            given += ["--compressionParamsFile", self.params_file]
        return tuple(given)

    def __str__(self) -> str:
        """A command line for a shell, with the converter of the wheel ``MNN``.

        It goes past the wheel's console script ``mnnconvert``, which installs a package and
        reports to the vendor.
        """
        return shlex.join(["python", "-c", PROGRAM, "mnnconvert", *self.arguments])
