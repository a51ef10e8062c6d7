"""Verifications of what was exported, for the commands that make them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphquant_cli.progress import progress_bar

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.exporter import ExportSource
    from graphquant_export.verification import Limits, Verification


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
