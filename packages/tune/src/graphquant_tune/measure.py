"""What each layer of a model costs at each width, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import numpy.typing as npt

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.plan import Plan
from graphquant_export.inputs import LoadedModel
from graphquant_tune.compare import Comparison
from graphquant_tune.folded import fold_model
from graphquant_tune.grids import WIDTHS, quantise_at
from graphquant_tune.layer_costs import LayerSensitivity, layer_sensitivities
from graphquant_tune.report import Report, silent
from graphquant_tune.samples import Samples


@attrs.frozen
class Sensitivities:
    """What the layers of a model cost.

    Attributes:
        layers: One for each layer, in the order of the graph.
        plan: Which layers are quantised, and why the others aren't.
    """

    layers: tuple[LayerSensitivity, ...]
    plan: Plan


def sensitivity(
    model: LoadedModel,
    samples: Mapping[str, npt.ArrayLike],
    *,
    skip_layers: Iterable[str] = (),
    batch_size: int = 64,
    report: Report = silent,
) -> Sensitivities:
    """Distance of the outputs from the float model's with one layer at 8, 6, 4, 3 or 2 bits.

    All other layers are float. The distance is T² KL(softmax(t / T) || softmax(s / T)), T = 2, for
    class scores, and the relative squared error for all else; the mean over the outputs.

    Args:
        model: What `graphquant_export.load_model` returned.
        samples: Samples of each input, by its name; the first 1,024 are run.
        skip_layers: Names or patterns of layers that are left out.
        batch_size: Samples that are run at once.
        report: Hears of progress.

    Raises:
        ConfigError, RangeError, NonFiniteError: `samples` don't fit the model.
        UnknownNameError: A name in `skip_layers` is none of a layer.
        NoLayersError: No layer is left.
    """
    if isinstance(skip_layers, str):
        raise ConfigError(f"skip_layers ({skip_layers!r}) must be a list of layer names")
    folded = fold_model(model.graph_def, model.outputs)
    found = Samples(import_frozen(folded.graph_def), samples, batch_size)
    found.check_varied()
    widths = quantise_at(folded, WIDTHS, tuple(skip_layers))
    with Comparison(folded, found) as comparison:
        layers = layer_sensitivities(
            folded,
            widths,
            comparison,
            lambda done, total: report("measuring layers", done, total, ""),
        )
    return Sensitivities(layers, widths.plan)
