"""mnncompress' `WeightQuantizer`: weight-only quantisation of a live graph."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, GraphStateError
from graphquant_core.graph import GraphView
from graphquant_core.graph.guards import check_extensible
from graphquant_core.graph.step_units import StepUnits, check_step_units
from graphquant_core.plan import Plan
from graphquant_core.registry import Registry, load_registry
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.targets.mnn import ConverterCommand, LayerParams, save_compress_params
from graphquant_wq.graph.dampening import dampening_loss
from graphquant_wq.graph.group_steps import StepVariables, step_variables
from graphquant_wq.graph.kept_zeros import zero_keeper
from graphquant_wq.graph.rewrite import quantize_graph
from graphquant_wq.graph.start import (
    Start,
    check_weights,
    has_pruned_zeros,
    trained_variables,
)
from graphquant_wq.graph.variables import (
    read_started,
    set_variables,
)
from graphquant_wq.settings import checked_settings

v1 = tf.compat.v1
logger = logging.getLogger(__name__)


class WeightQuantizer:
    """Fake-quantises the weights of `graph` in place, as MNN's converter will quantise them.

    Make it after the forward pass and before the optimizer. It adds nothing that a
    ``tf.compat.v1.train.Saver`` saves, so that a Saver made last still restores a float
    checkpoint.

    Args:
        graph: The graph; the default one when ``None``.
        bits: Bits of every weight, 2 to 8.
        debug_info: Whether to print the plan: every layer, and why those that stay float do.
        asymmetric: Whether a group has a minimum of its own; by default as `strategy` prefers.
        strategy: Name of the weight strategy.
        layer_bits: Other bits by layer name or pattern (``"block1/*"``); the last that fits counts.
        skip_layers: Names or patterns of layers that stay float.
        block_size: Input channels that share a scale, at least 16; 0 for all of them.
        start: Whether `init` clips the weights to the range that their grid fits best: ``"auto"``
            does in a graph that has gradients, ``"mse"`` always, ``"keep"`` never. Say ``"keep"``
            to go on training from a checkpoint that was trained with a quantiser.
        keep_zeros: Whether weights that are zero at `init` stay zero, as in a pruned model.

    Raises:
        ConfigError, BitsError, UnknownNameError: An argument has a wrong value.
        NoLayersError: The graph has no layer that MNN quantises; says why.
        GraphStateError: The graph has gradients, is finalised, or a session on it is open.
        After any of them the graph is as before.
    """

    def __init__(
        self,
        graph: tf.Graph | None = None,
        bits: int = 8,
        debug_info: bool = False,
        *,
        asymmetric: bool | None = None,
        strategy: str = "live_range",
        layer_bits: Mapping[str, int] | None = None,
        skip_layers: Iterable[str] = (),
        block_size: int = 0,
        start: str = "auto",
        keep_zeros: bool = True,
    ) -> None:
        if asymmetric is None:
            chosen = load_registry().weight_quantizer(strategy)
            asymmetric = bool(getattr(chosen, "asymmetric", False))
        settings = checked_settings(
            bits, asymmetric, strategy, layer_bits, skip_layers, block_size, start, keep_zeros
        )
        self._graph = v1.get_default_graph() if graph is None else graph
        if not isinstance(self._graph, tf.Graph):
            raise ConfigError(f"graph ({type(graph).__name__}) must be a tf.Graph")
        self._record = quantize_graph(self._graph, settings)
        self._step_variables: list[StepVariables] = []
        if debug_info:
            print(self.plan)

    @property
    def plan(self) -> Plan:
        """Every layer that MNN quantises, and every one that it doesn't with the reason."""
        return self._record.plan

    def init(self, sess: tf.compat.v1.Session) -> None:
        """Read the weights in `sess`: note the zeros to keep, and clip where training starts.

        Call it after the variables are initialised or restored, and before training.

        Raises:
            GraphStateError: Variables of the graph have no value yet.
            NonFiniteError: A weight is NaN or infinite.
            ConfigError: `sess` is a session on another graph.
        """
        record, registry = self._record, load_registry()
        self._check_session(sess)
        values, started = self._weights(sess, registry)
        check_weights(record.weights, values)
        kept = frozenset(
            name
            for name, weight in record.weights.items()
            if record.settings.keep_zeros and has_pruned_zeros(values[weight.weight])
        )
        start = Start(record, values, kept, registry)
        new: dict[str, npt.NDArray[Any]] = {**start.flags(self._graph)}
        # Those that were trained stay, unless training is to start anew.
        new |= start.variables(frozenset() if record.settings.start == "mse" else started)
        if record.settings.start != "keep":
            new |= start.clipped_weights(self._graph)
        set_variables(self._graph, sess, new)
        record.zeros = kept
        record.session = weakref.ref(sess)
        record.keep_zeros = zero_keeper(self._graph, record, values)
        if self._step_variables:
            values, _ = self._weights(sess, registry)
            for made in self._step_variables:
                set_variables(self._graph, sess, made.start(record, values))

    def update(self, sess: tf.compat.v1.Session) -> None:
        """Set kept zeros to zero again. Call it after each training step.

        Raises:
            GraphStateError: `init` was not called.
            ConfigError: `sess` is a session on another graph.
        """
        self._check_session(sess)
        self._check_initialized()
        self._record.session = weakref.ref(sess)
        if self._record.keep_zeros is not None:
            sess.run(self._graph.get_operation_by_name(self._record.keep_zeros))

    def in_step_units(
        self, optimizer: tf.compat.v1.train.Optimizer, ratio: float = 15.0
    ) -> tf.compat.v1.train.Optimizer:
        """`optimizer`, for which a weight counts in steps of its grid: w = w0 + ratio * step * u.

        Where the optimizer moves another variable by 1, it moves a weight by `ratio` steps of the
        grid on which `init` puts its group: with Adam at a rate of 0.004 by at most 0.06 steps.
        Without it one rate is too large for one layer and too small for the next, which costs
        most at 2 and 3 bits. Call it before `init`; use the result in place of `optimizer`.

        Args:
            optimizer: The optimizer; its rate is that of biases and batch norms.
            ratio: Steps of a grid that count as 1.

        Raises:
            ConfigError: `optimizer` is no ``tf.compat.v1.train.Optimizer``, or `ratio` isn't a
                positive number.
            GraphStateError: `init` was called already, the graph is finalised, or a tf.distribute
                strategy is in force.
        """
        check_step_units(optimizer, ratio)
        if self._record.zeros is not None:
            raise GraphStateError("WeightQuantizer.init(sess) was called: call in_step_units first")
        check_extensible(GraphView(self._graph))
        found = step_variables(self._graph, self._record, ratio)
        self._step_variables.append(found)
        return StepUnits(optimizer, found.units)

    def dampening_loss(self) -> tf.Tensor:
        """Σ (ŵ - w)² over the weights w, ŵ being w on its grid: float32 scalar, to add to the loss.

        It is for training with a learning rate that doesn't fall: there weights of 2 or 3 bits
        jump between two codes to the end. Let its share grow from zero, for example to 0.1 along
        a cosine. Call it before the optimizer is made; the gradient goes to the weights only.

        Raises:
            GraphStateError: The graph is finalised, or `strip_wq_ops` was called.

        Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, 2022.
        """
        return dampening_loss(self._graph, self._record)

    def compress_params(self) -> tuple[LayerParams, ...]:
        """How MNN is to quantise each of its ops, by the names that its converter derives.

        Raises:
            GraphStateError: `init` was not called.
        """
        self._check_initialized()
        params: list[LayerParams] = []
        for name, weight in self._record.weights.items():
            settings = self._record.settings_of(name)
            params += [
                LayerParams(op_name, settings.bits, settings.asymmetric, settings.block_size)
                for op_name in weight.mnn_names
            ]
        return tuple(params)

    def weight_record(self) -> WeightRecord:
        """How the weight of each layer is quantised, by its name in TensorFlow; for exporters.

        Raises:
            GraphStateError: `init` was not called.
        """
        self._check_initialized()
        settings = {name: self._record.settings_of(name) for name in self._record.weights}
        return WeightRecord(
            {name: WeightGrid(s.bits, s.asymmetric, s.block_size) for name, s in settings.items()}
        )

    def save_compress_params(
        self, filename: str | os.PathLike[str], append: bool = False
    ) -> ConverterCommand:
        """Write what MNN's converter has to know: JSON if `filename` ends in ``.json``.

        Args:
            filename: The file.
            append: Whether `filename` holds entries, such as a pruner's, that are kept.

        Returns:
            The converter's command line for a ``frozen.pb``; it is logged as well.

        Raises:
            GraphStateError: `init` was not called.
            ModelFileError: `append` is true and the file is missing or broken.
            FileWriteError: `filename` can't be written.
        """
        save_compress_params(filename, self.compress_params(), append)
        command = ConverterCommand("frozen.pb", "model.mnn", filename)
        logger.info("convert the frozen graph with: %s", command)
        return command

    def _check_session(self, sess: Any) -> None:
        if not hasattr(sess, "run") or not hasattr(sess, "graph"):
            raise ConfigError(f"sess ({type(sess).__name__}) must be a session")
        if sess.graph is not self._graph:
            raise ConfigError("sess is a session on another graph than the quantiser's")

    def _check_initialized(self) -> None:
        if self._record.zeros is None:
            raise GraphStateError(
                "WeightQuantizer.init(sess) was not called: call it after the variables are "
                "restored and before training"
            )

    def _weights(
        self, sess: tf.compat.v1.Session, registry: Registry
    ) -> tuple[dict[str, npt.NDArray[np.float32]], frozenset[str]]:
        """The weights by tensor name, and the strategies' variables that were started."""
        trained = [
            name
            for weight in self._record.weights.values()
            for name in trained_variables(weight, registry)
        ]
        names = self._record.tensors("weight", "factor")
        try:
            return read_started(self._graph, sess, names, trained)
        except tf.errors.FailedPreconditionError as error:
            raise GraphStateError(
                "WeightQuantizer.init(sess) needs the weights: initialise or restore the "
                f"variables first ({' '.join(error.message.split())})"
            ) from error
