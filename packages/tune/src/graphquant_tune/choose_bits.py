"""The bits of each layer that a user's goal asks for."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

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


@attrs.frozen(eq=False)
class WeightFiles:
    """What a target's file weighs for bits of layers.

    Attributes:
        model: The float model.
        widths: Its weights at several widths.
        layers: What each layer costs at each of them.
        target: Name of the target.
        sizes: Those of files whose layers all have the same width.
    """

    model: FoldedModel
    widths: Widths
    layers: Sequence[LayerSensitivity]
    target: str
    sizes: Sizes

    def path(self) -> list[Bits]:
        """Allocations from the widest to the narrowest, as `allocate_path`."""
        return allocate_path(self.layers, self.sizes.widths)

    def measure(self, bits: Bits) -> int:
        """Bytes of the file with `bits`, which is written to see."""
        return _file_size(self.model, self.widths, self.target, bits)

    def bits_within(self, size: int) -> Bits:
        """Bits with which the file really weighs at most `size` bytes.

        Raises:
            ConfigError: The smallest file is larger; says how large.
        """
        return largest_within(self.path(), size, self.sizes, self.measure)[0]


def weight_files(
    model: FoldedModel,
    widths: Widths,
    found: Sequence[LayerSensitivity],
    target: str,
    report: Report,
) -> WeightFiles:
    """Writes a file of each width to see what it weighs.

    Raises: as the target's exporter.
    """
    files = {}
    for done, bits in enumerate(WIDTHS):
        report("writing files", done, len(WIDTHS), f"{bits} bits")
        every = {layer.name: bits for layer in found}
        files[bits] = _file_size(model, widths, target, every)
    sizes = Sizes(files, {layer.name: layer.weights for layer in found})
    return WeightFiles(model, widths, found, target, sizes)


def _file_size(model: FoldedModel, widths: Widths, target: str, bits: Bits) -> int:
    exporter = load_registry().exporter(target)
    made = put_on_grids(model, widths.values(model, bits), bits, widths)
    record, outputs = weight_record(bits, widths), list(model.outputs)
    return artifact_size(lambda path: exporter.export(made.graph_def, outputs, record, path))


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
