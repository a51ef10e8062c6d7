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
