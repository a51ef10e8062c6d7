"""The two ways of `graphquant quantize`, and what each prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from graphquant_cli.exporting import RECORD, print_artifact, write_weight_sources
from graphquant_cli.option_names import in_options
from graphquant_cli.optional_packages import need
from graphquant_cli.progress import progress_bar

if TYPE_CHECKING:
    from graphquant_core.plan import Plan
    from graphquant_core.record import Record
    from graphquant_export.inputs import LoadedModel


def quantize_all(
    model: LoadedModel,
    target: str,
    save_path: Path,
    samples: dict[str, Any],
    options: dict[str, Any],
    keywords: dict[str, Any],
    as_json: bool,
) -> None:
    """Quantises activations and weights, writes the files, and says so.

    Args:
        model: The float model.
        target: Name of the exporter.
        save_path: Start of the names of the files.
        samples: Samples for its inputs, by their names.
        options: Keywords of `graphquant_export.quantize`.
        keywords: Options of the target.
        as_json: Whether a machine reads what is printed.
    """
    from graphquant_export import export, write_record
    from graphquant_export import quantize as find_record

    record_path = Path(f"{save_path}{RECORD}")
    with progress_bar("calibrating") as progress:
        record = find_record(model, samples, target, progress=progress, **options)
    artifact = export(model, record, target, save_path, samples=samples, **keywords)
    write_record(record_path, cast("Record", artifact.source.record))
    if not as_json:
        typer.echo(f"{len(record)} layers are quantised; wrote {record_path}")
    print_artifact(artifact, as_json, {"record": str(record_path), "layers": list(record)})


def quantize_weights(
    model: LoadedModel,
    target: str,
    save_path: Path,
    samples: dict[str, Any] | None,
    options: dict[str, Any],
    keywords: dict[str, Any],
    as_json: bool,
) -> None:
    """Quantises weights alone, writes the files, and says so.

    Args:
        model: The float model.
        target: Name of the exporter.
        save_path: Start of the names of the files.
        samples: Samples for its inputs, by their names; ``None`` for none.
        options: Keywords of `graphquant_wq.quantize_frozen_weights`.
        keywords: Options of the target.
        as_json: Whether a machine reads what is printed.
    """
    import attrs

    from graphquant_export import export

    wq = need("graphquant_wq", "quantize --weight-only")
    with progress_bar("rounding") as progress:
        found = wq.quantize_frozen_weights(
            model.graph_def, model.outputs, samples=samples, progress=progress, **options
        )
    on_grid = attrs.evolve(model, graph_def=found.graph_def)
    artifact = export(on_grid, found.params, target, save_path, **keywords)
    if not as_json:
        ops = "op is" if len(found.params) == 1 else "ops are"
        typer.echo(f"the weights of {len(found.params)} {ops} quantised{_float_rest(found.plan)}")
        for line in _described(found, samples is not None):
            typer.echo(line)
    sources = write_weight_sources(found.graph_def, found.params, save_path, artifact.paths)
    layers = [attrs.asdict(layer) for layer in found.params]
    rounded = [attrs.asdict(layer) for layer in found.rounded]
    skips = [{"name": skip.name, "reason": skip.reason} for skip in found.plan.skips]
    print_artifact(
        artifact, as_json, {"layers": layers, "skips": skips, "rounded": rounded}, sources
    )


def _described(found: Any, sampled: bool) -> list[str]:
    """What of the result the options don't say."""
    plain = [layer for layer in found.rounded if layer.method == "nearest"] if sampled else []
    lines = []
    if found.kept_wide:
        layers = "layer has" if len(found.kept_wide) == 1 else "layers have"
        count, first = len(found.kept_wide), found.kept_wide[0]
        lines.append(f'{count} small {layers} 8 bits, such as "{first}"')
    if plain:
        more = f" (and {len(plain) - 1} more)" if len(plain) > 1 else ""
        lines.append(
            f'"{plain[0].name}"{more} is rounded to the nearest: {in_options(plain[0].reason)}'
        )
    return lines


def _float_rest(plan: Plan) -> str:
    if not plan.skips:
        return ""
    first = plan.skips[0]
    stay = "stays" if len(plan.skips) == 1 else "stay"
    return f'; {len(plan.skips)} {stay} float, such as "{first.name}": {in_options(first.reason)}'
