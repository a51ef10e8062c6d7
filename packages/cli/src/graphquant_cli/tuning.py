"""What is written, checked and said of a tuned model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from graphquant_cli.exporting import RECORD, write_weight_sources
from graphquant_cli.output import json_text
from graphquant_cli.source_files import RECORD_DIGEST, SUMMARY, TUNED, digest
from graphquant_core.exceptions import ConfigError, FileWriteError
from graphquant_core.listing import choices, listed

if TYPE_CHECKING:
    from graphquant_core.exporter import Artifact
    from graphquant_export.inputs import LoadedModel
    from graphquant_export.verification import Verification
    from graphquant_tune import TunedModel

QUALITY_HEADER = ("", "SQNR", "same answers", "distance")
VERIFIED_SAMPLES = 256


def quality_rows(found: TunedModel) -> list[tuple[str, ...]]:
    """The quality without training and of the result, beside the float model."""
    rows: list[tuple[str, ...]] = []
    for name, quality in (("without training", found.before), ("tuned", found.after)):
        same = "-" if quality.agreement is None else f"{quality.agreement:.2%}"
        rows.append((name, f"{quality.sqnr:.1f} dB", same, f"{quality.distance:.4g}"))
    return rows


def said(found: TunedModel) -> str:
    """What was quantised and trained, in a line."""
    widths = sorted(set(found.bits.values()), reverse=True)
    counts = listed(
        f"{sum(bits == width for bits in found.bits.values())} at {width} bits" for width in widths
    )
    left = len(found.plan.skips)
    rest = f"; {left} stay float" if left else ""
    stopped = ", stopped by Ctrl-C" if found.training.interrupted else ""
    return (
        f"{len(found.bits)} layers are quantised: {counts}{rest} "
        f"({found.training.steps} steps in {found.training.seconds:.0f} s{stopped})"
    )


def write_tuned(
    model: LoadedModel,
    found: TunedModel,
    target: str,
    save_path: Path,
    keywords: dict[str, Any],
) -> tuple[Artifact, tuple[Path, ...]]:
    """(the target's files, and those that `verify` takes, with what was found out)."""
    from graphquant_core.files import write_whole
    from graphquant_core.record import Record
    from graphquant_core.weight_record import WeightRecord
    from graphquant_export import export, write_record
    from graphquant_export.targets.mnn.weight_params import compress_params

    artifact = export(model, found.factors, target, save_path, **keywords)
    known = found.summary()
    if isinstance(found.factors, WeightRecord):
        params = compress_params(model.graph_def, model.outputs, found.factors)
        sources = write_weight_sources(model.graph_def, params, save_path, artifact.paths)
    else:
        graph, record = Path(f"{save_path}.pb"), Path(f"{save_path}{RECORD}")
        if graph in artifact.paths:  # Some targets have a graph of that name, which they run by.
            graph = Path(f"{save_path}{TUNED}")
        write_whole(graph, model.graph_def.SerializeToString(deterministic=True))
        completed = artifact.source.record
        write_record(record, completed if isinstance(completed, Record) else found.factors)
        known[RECORD_DIGEST] = digest(record)
        sources = (graph, record)
    summary = Path(f"{save_path}{SUMMARY}")
    write_whole(summary, json_text(known) + "\n")
    return artifact, (*sources, summary)


def check_report(page: Path, others: Iterable[Path]) -> None:
    """Returns when `page` and its data can be written, and aren't a file that is needed.

    Raises:
        ConfigError, FileWriteError: They can't, or one of them is among `others`.
    """
    from graphquant_export.report.write import report_paths

    taken = {path.resolve() for path in others}
    for path in report_paths(page):
        if path.resolve() in taken:
            raise FileWriteError(
                f'--report ("{page}"): {path} would be written over another file of this call; '
                f'give another, such as "{page.with_name(page.stem + "_report.html")}"'
            )


def check_labels(path: Path, labels: Any, samples: dict[str, Any]) -> None:
    """Returns when there is a label for each sample, before anything is trained.

    Raises:
        ConfigError: There are more or fewer; names the file.
    """
    counts = {len(value) for value in samples.values() if value.ndim}
    if not labels.ndim or len(labels) not in counts:
        raise ConfigError(
            f"labels ({path}) are {len(labels) if labels.ndim else 'no list'}, the samples "
            f"{choices(sorted(counts))}"
        )


@attrs.frozen
class Checked:
    """What was found of the files in their runtime.

    Attributes:
        found: What `verify` returned; ``None`` when the runtime isn't installed.
        lines: What is said of it.
    """

    found: Verification | None
    lines: Sequence[str]

    @property
    def problems(self) -> Sequence[str]:
        """Where the files are beyond the limits."""
        return () if self.found is None else self.found.problems()

    @property
    def ok(self) -> bool | None:
        """Whether they are within; ``None`` when that is not known."""
        return None if self.found is None else self.found.ok()


def verify_tuned(
    artifact: Artifact, samples: dict[str, Any], labels: Any | None, *, layers: bool
) -> Checked:
    """What `verify` finds on the first samples, and with labels on all of them."""
    from graphquant_core.exceptions import MissingDependencyError
    from graphquant_export import verify
    from graphquant_export.inputs.samples import first_samples

    taken = samples if labels is not None else first_samples(samples, VERIFIED_SAMPLES)
    try:
        found = verify(artifact, taken, labels=labels, layers=layers)
    except MissingDependencyError as error:
        return Checked(None, [f"not verified: {error}"])
    lines = [
        f'accuracy of "{one.output}": {one.accuracy.runtime:.2%} in the runtime'
        for one in found.outputs
        if one.accuracy is not None
    ]
    if found.ok():
        lines.append(f"{found.target}: verified on {found.samples} samples")
    return Checked(found, lines)


def write_page(
    page: Path, found: TunedModel, checked: Checked, artifact: Artifact, samples: dict[str, Any]
) -> tuple[Path, Path]:
    """The report of a tuned model, and its data."""
    from graphquant_export import write_report
    from graphquant_export.inputs.samples import first_samples
    from graphquant_tune import report_chapter

    return write_report(
        page,
        [] if checked.found is None else checked.found,
        artifact.source,
        first_samples(samples, VERIFIED_SAMPLES),
        title="Tuning report",
        chapters=[report_chapter(found)],
    )
