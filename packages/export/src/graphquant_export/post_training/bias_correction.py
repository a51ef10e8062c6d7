"""What rounding adds to the mean of each output channel, taken off its bias.

The layers are corrected in the order in which they run: the mean of each is compared where those
before it are corrected already, all in one run of the simulation.

Source: Nagel 2019 (1906.04721), section 4.2, with means that are observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import PassThrough
from graphquant_core.graph.frozen import GraphDefEditor, cpu_session, import_frozen
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.quiet import nothing_said
from graphquant_core.record import Record
from graphquant_export.inputs.batches import make_batches
from graphquant_export.post_training.samples import run_batch
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.simulate import SimulatedGraph, simulate

v1 = tf.compat.v1


@attrs.frozen(eq=False)
class _Corrected:
    """One layer in both graphs.

    Attributes:
        name: Name of the layer.
        last: Name of the tensor in the float model with what it returns.
        others: The axes of that tensor without that of the channels.
        wanted: Name of the placeholder that takes the means of the float model.
        missing: Name of the node with what the simulation's means lack.
    """

    name: str
    last: str
    others: tuple[int, ...]
    wanted: str
    missing: str


def with_corrected_biases(
    record: Record,
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
    batch_size: int,
) -> Record:
    """`record` with the correction of each bias that `model` has.

    Args:
        record: Scales and offsets of its layers.
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        calibration: Samples for each placeholder, by its name.
        batch_size: Samples of a batch.

    Raises: as `graphquant_export.quantized.simulate.simulate`, and `sample_values` for
        `calibration`.
    """
    with nothing_said("graphquant_export"):
        simulated = simulate(model, outputs, record)
    graph_def, layers = _correcting(simulated)
    if not layers:
        return record
    floats, rounded = import_frozen(simulated.model.graph_def), import_frozen(graph_def)
    with floats.as_default():
        means = [tf.reduce_mean(floats.get_tensor_by_name(x.last), x.others) for x in layers]
    found: dict[str, list[npt.NDArray[np.float32]]] = {layer.name: [] for layer in layers}
    batches = make_batches(floats, calibration, batch_size, "calibration")
    with cpu_session(floats) as before, cpu_session(rounded) as after:
        for batch in batches:
            wanted = run_batch(before, means, batch)
            fed = {rounded.get_tensor_by_name(f"{layer.wanted}:0"): value
                   for layer, value in zip(layers, wanted, strict=True)}  # fmt: skip
            values = run_batch(after, [f"{layer.missing}:0" for layer in layers], batch, fed)
            for layer, value in zip(layers, values, strict=True):
                found[layer.name].append(value)
    sizes = [batch.size for batch in batches]
    factors = dict(record)
    for name, values in found.items():
        correction = np.average(values, axis=0, weights=sizes)
        # Behind what answers NaN when it is rounded, as a logarithm does, there is no mean.
        if np.isfinite(correction).all():
            factors[name] = attrs.evolve(factors[name], bias_correction=correction)
    return attrs.evolve(record, factors=factors)


def _correcting(
    simulated: SimulatedGraph,
) -> tuple[tf.compat.v1.GraphDef, tuple[_Corrected, ...]]:
    """The simulation with each layer's means made those that are fed."""
    editor = GraphDefEditor(simulated.graph_def)
    layers = []
    for named, layer in zip(simulated.layers, simulated.model.layers, strict=True):
        if named.bias is not None and _can_be_corrected(editor, named.result, layer):
            layers.append(_correct(editor, named.result, layer))
    kept = [*simulated.outputs, *(layer.missing for layer in layers)]
    return editor.graph_def(kept), tuple(layers)


def _can_be_corrected(editor: GraphDefEditor, result: str, layer: QuantizedLayer) -> bool:
    """Whether its own result has its channels where those of its op are."""
    shaped = any(
        isinstance(step, PassThrough) and step.op.type == "Squeeze" for step in layer.integers.steps
    )
    own = editor.node(result).op in ("AddV2", "BiasAdd")
    return own and not shaped and layer.last.shape.rank is not None


def _correct(editor: GraphDefEditor, result: str, layer: QuantizedLayer) -> _Corrected:
    rank = layer.last.shape.rank
    axis = layer.layer.output_channel_axis % rank
    others = tuple(other for other in range(rank) if other != axis)
    consumers = editor.consumers(result)
    channels = len(layer.bias_codes)

    def add(name: str, op: str, inputs: Sequence[str], **attributes: object) -> str:
        unique = editor.unique_name(f"{result}/{name}")
        return editor.add(node_def(unique, op, inputs, T=tf.float32, **attributes))

    def constant(name: str, values: Sequence[int]) -> str:
        unique = editor.unique_name(f"{result}/{name}")
        return editor.add(const_node(unique, np.array(values, np.int32)))

    name = editor.unique_name(f"{result}/wanted")
    shape = tf.TensorShape([channels])
    wanted = editor.add(node_def(name, "Placeholder", dtype=tf.float32, shape=shape))
    axes = constant("axes", others)
    mean = add("mean", "Mean", [result, axes], Tidx=tf.int32, keep_dims=False)
    missing = add("missing", "Sub", [wanted, mean])
    along = constant("along", [channels, *[1] * (rank - 1 - axis)])
    shaped = add("shaped", "Reshape", [missing, along], Tshape=tf.int32)
    corrected = add("corrected", "AddV2", [result, shaped])
    for consumer, port in consumers:
        editor.set_input(consumer, port, corrected)
    return _Corrected(layer.name, str(layer.last.name), others, wanted, missing)
