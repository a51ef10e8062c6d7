"""What an artifact is held against: the frozen graph, and the integers it was deployed as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.exporter import ExportSource
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, cpu_session, import_frozen
from graphquant_core.record import Record
from graphquant_core.target_rules import TargetRules
from graphquant_export.inputs.brief import brief
from graphquant_export.quantized.exact_form import exact_graph
from graphquant_export.quantized.simulate import simulation_of
from graphquant_export.quantized.target_simulation import PlannedResult, simulate_target
from graphquant_export.verification.taken_values import with_taken_values

Array = npt.NDArray[Any]

SIMULATION = "simulation"
INTEGER_REFERENCE = "integer reference"


class GraphRunner:
    """Runs `graph_def` batch by batch in one session on the CPU, from the first run to `close`.

    Attributes:
        graph: The graph.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef) -> None:
        self.graph = import_frozen(graph_def)
        self._session: tf.compat.v1.Session | None = None

    def __enter__(self) -> GraphRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def has(self, name: str) -> bool:
        """Whether the graph has an op called `name`."""
        try:
            self.graph.get_operation_by_name(name)
        except KeyError:
            return False
        return True

    def run(self, names: Iterable[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Value of each op (its first output) or tensor in `names`, by that name.

        Args:
            names: Names of ops or tensors.
            feeds: By tensor name, as `checked_feeds` has them.

        Raises:
            ModelFileError: TensorFlow can't compute one of them.
        """
        if self._session is None:
            self._session = cpu_session(self.graph)
        wanted = list(dict.fromkeys(names))
        fed = {key: value for key, value in feeds.items() if self.has(key.removesuffix(":0"))}
        try:
            tensors = [name if ":" in name else f"{name}:0" for name in wanted]
            values = self._session.run(tensors, fed)
        except tf.errors.OpError as error:
            raise ModelFileError(f"the model cannot be run: {brief(error)}") from error
        return dict(zip(wanted, map(np.asarray, values), strict=True))


@attrs.frozen(eq=False)
class Truths:
    """What an artifact is held against.

    Attributes:
        simulation: The frozen graph with its fake quantisers.
        reference: The integer reference; ``None`` when only weights are quantised.
        layers: Names of the quantised layers in the order of the graph; ``None`` when only the
            artifact says which they are.
        nodes: Node of the graph that layers are compared in, by a name in the simulated graph,
            where that is another.
        results: What each layer returns, where the target rounds it; by the layer's name.
        taken: The tensors of the reference that hold what is taken of it, before it is rounded.
        float_model: The model before it was quantised, where that is known: `simulation`, when
            nothing in it was trained.
    """

    simulation: GraphRunner
    reference: GraphRunner | None
    layers: tuple[str, ...] | None
    nodes: Mapping[str, str]
    results: Mapping[str, PlannedResult]
    taken: Mapping[str, tuple[str, ...]]
    float_model: GraphRunner | None = None

    @property
    def exact(self) -> GraphRunner:
        """The integer reference, or the simulation without one."""
        return self.reference or self.simulation

    @property
    def exact_name(self) -> str:
        """What `exact` is called."""
        return SIMULATION if self.reference is None else INTEGER_REFERENCE

    def close(self) -> None:
        """Closes what the graphs were run in."""
        for runner in (self.simulation, self.reference, self.float_model):
            if runner is not None:
                runner.close()

    def op_types(self) -> dict[str, str]:
        """Type of each op of the plan of the frozen graph, in its order."""
        return {row.name: row.op_type for row in plan_graph(self.simulation.graph).rows}


def find_truths(
    source: ExportSource, rules: TargetRules, float_model: tf.compat.v1.GraphDef | None = None
) -> Truths:
    """What an artifact made of `source` is held against.

    Args:
        source: What it was made of.
        rules: What its target rounds.
        float_model: The model before it was quantised.

    Raises: as `graphquant_export.quantized.simulate.simulate`.
    """
    frozen = GraphRunner(GraphDefEditor(source.model).graph_def(source.outputs))
    before = None
    if float_model is not None:
        before = GraphRunner(GraphDefEditor(float_model).graph_def(source.outputs))
    if not isinstance(source.record, Record):
        return Truths(frozen, None, None, {}, {}, {}, before)
    simulated = simulation_of(source)
    target = simulate_target(simulated, source.record, rules)
    graph_def, taken = with_taken_values(target.reference, simulated.outputs, target.results)
    needed = {tensor.partition(":")[0] for tensors in taken.values() for tensor in tensors}
    reference = GraphRunner(exact_graph(graph_def, [*simulated.outputs, *needed], rules))
    layers = tuple(layer.name for layer in simulated.layers)
    if before is None and not any(layer.place.trained for layer in simulated.model.layers):
        before = frozen
    nodes = simulated.exact.results
    return Truths(frozen, reference, layers, nodes, target.results, taken, before)
