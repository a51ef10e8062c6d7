"""Verifications of what was exported, for the commands that make them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphquant_cli.exporting import written_paths
from graphquant_cli.progress import progress_bar
from graphquant_core.exceptions import ModelFileError
from graphquant_core.suggestions import closest

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.exporter import ExportSource
    from graphquant_export.inputs import LoadedModel
    from graphquant_export.verification import Limits, Verification


def check_exported(target: str, save_path: Path) -> None:
    """Returns when some file of `target` stands at `save_path`, or the target names none.

    Before the model is loaded, which may take a minute.

    Raises:
        ModelFileError: None does; names one, and closest names that it could have.
        UnknownNameError: There is no such exporter.
    """
    paths = written_paths(target, save_path, ())
    if not paths or any(path.exists() for path in paths):
        return
    ending = paths[0].name.removeprefix(save_path.name)
    others = (path for path in save_path.parent.glob(f"*{ending}") if path.name != ending)
    prefixes = [str(other).removesuffix(ending) for other in others]
    raise ModelFileError(
        f'--save-path ("{save_path}"): no file of the target "{target}" stands there, such as '
        f'"{paths[0]}": `graphquant export` or `quantize` writes them'
        f"{closest(str(save_path), prefixes)}"
    )


def read_source(
    loaded: LoadedModel, factors: Any, graph: Path | None, float_model: LoadedModel | None = None
) -> tuple[ExportSource, tf.compat.v1.GraphDef | None]:
    """(what the files were made of, the float model where that isn't it).

    Args:
        loaded: The model that was given.
        factors: The record, or how weights alone are quantised.
        graph: The graph that this is about, where it isn't the one that was given.
        float_model: The float model, where that was given besides.

    Raises:
        ModelFileError: The graph can't be read.
    """
    from graphquant_core.exporter import ExportSource
    from graphquant_export.inputs import load_model

    unquantized = None if float_model is None else float_model.graph_def
    if graph is None:
        return ExportSource(loaded.graph_def, loaded.outputs, factors), unquantized
    graph_def = load_model(graph, list(loaded.outputs)).graph_def
    return ExportSource(graph_def, loaded.outputs, factors), unquantized or loaded.graph_def


def verify_files(
    source: ExportSource,
    target: str,
    save_path: Path,
    samples: Mapping[str, Any],
    labels: Path | None,
    *,
    layers: bool,
    limits: Limits,
    batch_size: int,
    classes: list[str] | None = None,
    float_model: tf.compat.v1.GraphDef | None = None,
) -> Verification:
    """The artifact that was exported to `save_path`, beside the `source` that it was made of."""
    from graphquant_export.inputs import load_samples
    from graphquant_export.verification import open_artifact, verify

    by_sample = None
    if labels is not None:
        by_sample = load_samples(labels, ["labels"], "labels")["labels"]
    artifact = open_artifact(target, save_path, source.model, source.outputs, source.record)
    with progress_bar(f"verifying {target}") as progress:
        return verify(
            artifact,
            samples,
            labels=by_sample,
            layers=layers,
            limits=limits,
            batch_size=batch_size,
            progress=progress,
            classes=classes,
            float_model=float_model,
        )
