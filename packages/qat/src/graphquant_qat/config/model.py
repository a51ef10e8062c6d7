"""The retrain configuration as values: what is quantised in each layer, and how."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class ActivationConfig:
    """How the activation of a layer is quantised.

    Attributes:
        algo: Name of the activation quantiser.
        clip_max: Where the trained upper clip starts, above zero; ``None`` to learn it from the
            first batches. Given together with `clip_min`.
        clip_min: Where the trained lower clip starts, below zero.
        fixed_min: Whether the lower clip stays at zero; ``None`` to decide by the graph.
        dst_type: The integers.
    """

    algo: str = "ulq_quantize"
    clip_max: float | None = None
    clip_min: float | None = None
    fixed_min: bool | None = None
    dst_type: str = "INT8"


@attrs.frozen
class WeightConfig:
    """How the weight of a layer is quantised.

    Attributes:
        algo: Name of the weight quantiser.
        channel_wise: One scale for each output channel, or one for the tensor.
        dst_type: The integers.
    """

    algo: str = "arq_retrain"
    channel_wise: bool = True
    dst_type: str = "INT8"


@attrs.frozen
class LayerConfig:
    """Whether a layer is quantised, and how; `weight` is ``None`` for a layer without weight."""

    retrain_enable: bool
    activation: ActivationConfig
    weight: WeightConfig | None


@attrs.frozen
class RetrainConfig:
    """The configuration of a graph: one entry for each layer of its plan, in plan order.

    Attributes:
        batch_num: Number of batches that the first clip values are taken from.
        layers: Configuration of each layer by name of its op.
        values: Configuration of each value that the target rounds where it arises and that has a
            range of its own, by its name: ``"add:0"``; none of a value that has the default one.
        version: Version of the file format.
    """

    batch_num: int
    layers: Mapping[str, LayerConfig]
    version: int = 1
    values: Mapping[str, LayerConfig] = attrs.field(factory=dict)

    @property
    def enabled(self) -> tuple[str, ...]:
        """Names of the layers that are quantised, in plan order."""
        return tuple(name for name, layer in self.layers.items() if layer.retrain_enable)
