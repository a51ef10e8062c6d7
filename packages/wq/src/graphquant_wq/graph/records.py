"""What is known of each quantised weight of a graph, by names only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_export.quantized.weight_groups import Grouping, mnn_grouping
from graphquant_wq.settings import LayerSettings, Settings

Float32Array = npt.NDArray[np.float32]


@attrs.frozen
class QuantizedWeight:
    """A layer whose weight is fake-quantised.

    It holds names only, so that a graph isn't kept alive by what is known of it.

    Attributes:
        layer: The layer.
        settings: How its weight is quantised.
        mnn_names: Names of the ops that MNN makes of the layer.
        weight: Tensor that the layer took before.
        output: Tensor on the grid that it takes now.
        flag: Place in the record's `flags`; ``None`` when zeros are always kept.
        factor: Tensor, float32 ``[out]``, that MNN multiplies the weight by before it forms the
            groups; ``None`` where that doesn't change a grid.
    """

    layer: Layer
    settings: LayerSettings
    mnn_names: tuple[str, ...]
    weight: str
    output: str
    flag: int | None
    factor: str | None

    @property
    def grouping(self) -> Grouping:
        """The groups that MNN forms of the weight."""
        return mnn_grouping(self.layer, self.settings.block_size)

    def folded_rows(self, values: Float32Array, factor: Float32Array | None) -> Float32Array:
        """`values` times `factor`, as MNN groups them: float32 ``[G, n]``, one group a row."""
        if factor is not None:
            values = values * self._along_channels(factor)
        return self.grouping.rows(values)

    def unfolded(self, rows: Float32Array, factor: Float32Array | None) -> Float32Array:
        """The inverse of `folded_rows`; zero where the factor is."""
        values = self.grouping.weight(rows)
        if factor is None:
            return values
        divisor = self._along_channels(factor)
        return np.divide(values, divisor, out=np.zeros_like(values), where=divisor != 0)

    def _along_channels(self, factor: Float32Array) -> Float32Array:
        shape = per_channel_shape(self.layer.weight_shape or (), self.layer.weight_channel_axes)
        return factor.reshape(shape)

    def settings_with_zero(self) -> LayerSettings:
        """The settings, on a grid that zero is on."""
        return attrs.evolve(self.settings, asymmetric=False)


@attrs.define
class GraphRecord:
    """What `WeightQuantizer` did to one graph.

    Attributes:
        settings: What it was asked for.
        plan: Every layer that MNN quantises, and every one that it doesn't.
        weights: The quantised weights, by layer name.
        flags: Variable, bool ``[n]``, that says which weights keep zeros; ``None`` if all do.
        session: The session that `init` or `update` saw last.
        zeros: Names of the layers whose zeros are kept; ``None`` before `init`.
        keep_zeros: Op that sets kept zeros to zero again; ``None`` when there are none.
        stripped: Whether the layers take constants on the grid instead.
        norms: Batch norms whose inputs the strip replaced, by name: the tensors that they took.
    """

    settings: Settings
    plan: Plan
    weights: dict[str, QuantizedWeight]
    flags: str | None = None
    session: Callable[[], object | None] = lambda: None
    zeros: frozenset[str] | None = None
    keep_zeros: str | None = None
    stripped: bool = False
    norms: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def settings_of(self, name: str) -> LayerSettings:
        """How the layer `name` is quantised: on a grid that zero is on, where zeros are kept."""
        weight = self.weights[name]
        return weight.settings_with_zero() if name in (self.zeros or ()) else weight.settings

    def tensors(self, *fields: str) -> list[str]:
        """Names of the tensors that `fields` of the weights hold, each once."""
        named = (getattr(weight, field) for weight in self.weights.values() for field in fields)
        return list(dict.fromkeys(name for name in named if name is not None))


_records: WeakKeyDictionary[tf.Graph, GraphRecord] = WeakKeyDictionary()


def record_of(graph: tf.Graph) -> GraphRecord | None:
    """What is known of `graph`; ``None`` when no `WeightQuantizer` was made for it."""
    return _records.get(graph)


def keep_record(graph: tf.Graph, record: GraphRecord) -> None:
    """Remembers `record` for as long as `graph` lives."""
    _records[graph] = record
