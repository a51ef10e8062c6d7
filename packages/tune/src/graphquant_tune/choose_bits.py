"""The bits of each layer that a user's goal asks for."""

from __future__ import annotations

from collections.abc import Sequence

from graphquant_core.exceptions import ConfigError
from graphquant_core.registry import load_registry
from graphquant_tune.allocation import Bits, allocate_path, first_that
from graphquant_tune.compare import Comparison
from graphquant_tune.file_sizes import Sizes, artifact_size, largest_within
from graphquant_tune.folded import FoldedModel
from graphquant_tune.goals import Within, unreachable
from graphquant_tune.grids import WIDTHS, Widths, put_on_grids, weight_record
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.report import Report


def bits_within_size(
    model: FoldedModel,
    widths: Widths,
    found: Sequence[LayerSensitivity],
    size: int,
    target: str,
    report: Report,
) -> Bits:
    """Bits with which the file of `target` really weighs at most `size` bytes.

    Raises:
        ConfigError: The smallest file is larger; says how large.
    """
    exporter = load_registry().exporter(target)

    def measure(bits: Bits) -> int:
        made = put_on_grids(model, widths.values(model, bits), bits, widths)
        record, outputs = weight_record(bits, widths), list(model.outputs)
        return artifact_size(lambda path: exporter.export(made.graph_def, outputs, record, path))

    files = {}
    for done, bits in enumerate(WIDTHS):
        report("writing files", done, len(WIDTHS), f"{bits} bits")
        files[bits] = measure({layer.name: bits for layer in found})
    sizes = Sizes(files, {layer.name: layer.weights for layer in found})
    chosen, _ = largest_within(allocate_path(found, sizes.widths), size, sizes, measure)
    return chosen


def bits_within_quality(
    model: FoldedModel,
    widths: Widths,
    found: Sequence[LayerSensitivity],
    comparison: Comparison,
    within: Within,
) -> Bits:
    """The smallest allocation whose quality is within, before training; layers may stay float.

    Raises:
        ConfigError: Not even one layer at 8 bits is; says how near that is.
    """
    # From one quantised layer to all at 8 bits, the one that costs least first; then narrower.
    order = sorted(found, key=lambda layer: (layer.distances[WIDTHS[0]], layer.name))
    names = [layer.name for layer in order]
    path = [dict.fromkeys(names[:n], WIDTHS[0]) for n in range(1, len(names))]
    path += allocate_path(found, WIDTHS)

    def holds(bits: Bits) -> bool:
        return within.holds(comparison.quality(widths.values(model, bits)))

    chosen = first_that(path[::-1], holds)
    if chosen is not None:
        return chosen
    best = comparison.quality(widths.values(model, path[0]))
    raise ConfigError(
        unreachable(within, f'the weights of "{names[0]}" alone in {WIDTHS[0]} bits', best)
    )
