"""From a model file to an artifact: the calls that a script needs, and the command line, too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphquant_core.registry import load_registry

if TYPE_CHECKING:
    import numpy.typing as npt

    from graphquant_core.calibration import RangeEstimator
    from graphquant_core.exporter import Artifact
    from graphquant_core.record import Record
    from graphquant_core.weight_record import Factors
    from graphquant_export.inputs import LoadedModel
    from graphquant_export.targets.mnn import LayerParams

Samples = Mapping[str, "npt.ArrayLike"]

RANGE_SAMPLES = 64
"""Samples that an export runs for the ranges that a record lacks."""


def quantize(
    model: LoadedModel,
    samples: Samples,
    target: str | Sequence[str] = "ascend",
    *,
    activation: str | RangeEstimator = "mse",
    skip_layers: Iterable[str] = (),
    equalize: bool = True,
    correct_bias: bool | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], object] | None = None,
) -> Record:
    """Scales and offsets of a float model for `target`, from samples and without training.

    Args:
        model: What `load_model` returned.
        samples: Samples for each input, by its name; a hundred or so.
        target: Name of the target, or several.
        activation: ``"mse"``, ``"ifmr"``, ``"min_max"`` or ``"percentile"``, or a function.
        skip_layers: Names or patterns of layers that stay float.
        equalize: Whether channels between layers are brought to one size where that helps.
        correct_bias: Whether each bias makes up for what rounding does to the mean of its channel;
            by default unless `target` has a record of layers alone, as ``"ascend"``.
        batch_size: Samples that are run at once.
        progress: Called with (samples done, samples in all) after each batch.

    Raises: as `graphquant_export.post_training.quantize_post_training`.
    """
    from graphquant_export.post_training import quantize_post_training

    return quantize_post_training(
        model.graph_def,
        model.outputs,
        samples,
        activation=activation,
        skip_layers=skip_layers,
        equalize=equalize,
        correct_bias=correct_bias,
        target=target,
        batch_size=batch_size,
        progress=progress,
    )


def export(
    model: LoadedModel,
    factors: Factors | Iterable[LayerParams],
    target: str,
    save_path: str | os.PathLike[str],
    *,
    samples: Samples | None = None,
    **options: Any,
) -> Artifact:
    """The files of `model` for `target`, whose names start with `save_path`.

    Args:
        model: What `load_model` returned.
        factors: The record of a training or of `quantize`, or what says how weights alone are
            quantised.
        target: Name of the target.
        save_path: Start of the names of the files.
        samples: Samples for each input, by its name, for ranges that the record lacks; the first
            64 are run.
        options: Options of the target.

    Raises:
        UnknownNameError: There is no such target.
        ConfigError: It has no such option.
        Else as the target's exporter.
    """
    exporter = load_registry().exporter(target)
    if samples is not None:
        from graphquant_export.inputs.samples import first_samples

        options["calibration"] = first_samples(samples, RANGE_SAMPLES)
    artifact: Artifact = exporter.export(
        model.graph_def, list(model.outputs), factors, save_path, **options
    )
    return artifact


def open_artifact(
    model: LoadedModel,
    factors: Factors | Iterable[LayerParams],
    target: str,
    save_path: str | os.PathLike[str],
) -> Artifact:
    """What `export` wrote for the same arguments.

    Raises: as `graphquant_export.verification.open_artifact`.
    """
    from graphquant_export.verification import open_artifact as open_exported

    return open_exported(target, save_path, model.graph_def, model.outputs, factors)
