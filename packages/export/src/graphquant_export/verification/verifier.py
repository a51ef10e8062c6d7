"""Runs an artifact beside what it was made of, and says where the two part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import GraphQuantError, ModelFileError
from graphquant_core.exporter import Artifact
from graphquant_core.registry import Registry
from graphquant_core.runtime import Closing, Runtime
from graphquant_export.inputs.batches import Batch, make_batches
from graphquant_export.verification.artifacts import artifact_files, runnable_exporter, target_rules
from graphquant_export.verification.class_scores import class_outputs
from graphquant_export.verification.layer_checks import LayersComparing
from graphquant_export.verification.limits import Limits
from graphquant_export.verification.output_checks import OutputComparing, checked_labels
from graphquant_export.verification.truths import Truths, find_truths
from graphquant_export.verification.verification import Verification

logger = logging.getLogger(__name__)


def verify(
    artifact: Artifact,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    labels: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    layers: bool = False,
    limits: Limits | None = None,
    batch_size: int | None = None,
    registry: Registry | None = None,
    progress: Callable[[int, int], object] | None = None,
    classes: Sequence[str] | None = None,
    float_model: tf.compat.v1.GraphDef | None = None,
) -> Verification:
    """`artifact` in its real runtime, beside the simulation and the integer reference.

    All three run on the same inputs: the frozen graph with its fake quantisers as TensorFlow
    computes it, the graph of integers with exact sums, rounded where the target rounds, and the
    artifact's file in the runtime that it is for. Where only weights are quantised, there is no
    integer reference.

    Args:
        artifact: What an export returned, or `open_artifact`.
        feeds: Samples for each placeholder, by name; split into batches along the first axis.
        labels: Class of each sample, integers in the shape of the first output without its last
            axis; or a mapping from output to classes.
        layers: Whether each quantised layer's result is compared, too. All of them are in memory
            at once, for one batch.
        limits: What counts as a divergence, and which rows of class scores are near ties.
        batch_size: Samples of a batch; by default as many as have about a million values, at
            most 256. A model whose placeholders have a batch of their own is run in batches of
            that size.
        registry: Where exporters come from; the installed plugins by default.
        progress: Called with (samples done, samples in all) after each batch.
        classes: Names of the outputs that hold class scores, whose top-1 counts; by default those
            that a softmax returns or that there are labels for. Others are judged by the steps
            that they differ by, and by their SQNR.
        float_model: The frozen graph before it was quantised, with the same inputs and outputs,
            to show the artifact's quality beside it; by default the graph that was exported, when
            that was quantised after training.

    Raises:
        ConfigError: `artifact` is none or has no runtime, or `feeds`, `labels` or `classes` name
            something that the model doesn't have.
        OutputNotFoundError: `float_model` lacks an output.
        RangeError: A value doesn't fit its placeholder, or `labels` don't fit their output.
        NonFiniteError: A value holds NaN or infinity.
        ModelFileError: A file of the artifact is missing or broken, or can't be run; names it.
        MissingDependencyError: The runtime isn't installed; says what to install.
    """
    exporter = runnable_exporter(artifact, registry)
    files = artifact_files(artifact)
    source = artifact.source
    by_output = checked_labels(labels, source.outputs)
    with ExitStack() as opened:
        with _naming(artifact):
            runtime = exporter.runtime(artifact)
            if isinstance(runtime, Closing):
                opened.callback(runtime.close)
            executions = runtime.executions()
            steps = {name: runtime.output_step(name) for name in source.outputs}
        truths = find_truths(source, target_rules(artifact, exporter), float_model)
        opened.callback(truths.close)
        scores = class_outputs(truths.simulation.graph, source.outputs, by_output, classes)
        batches = make_batches(truths.simulation.graph, feeds, batch_size)
        limits = limits or Limits()
        simulated = truths.float_model is not truths.simulation
        judged = dict.fromkeys(scores, limits)
        outputs = {
            name: OutputComparing(name, step, by_output.get(name), judged.get(name), simulated)
            for name, step in steps.items()
        }
        compared = LayersComparing(truths, executions, source.outputs) if layers else None
        if compared is not None:
            opened.callback(compared.close)
        done, total = 0, batches.total
        for batch in batches:
            exact: Mapping[str, np.ndarray] = {}
            own: Mapping[str, np.ndarray] = {}
            if compared is not None:
                with _naming(artifact):
                    found = runtime.layer_outputs(batch.by_op())
                exact, own = compared.add(found, batch)
            _compare_outputs(artifact, runtime, truths, outputs, batch, exact, own)
            done += batch.size
            logger.info("%s: %d of %d samples are verified", artifact.target, done, total)
            if progress is not None:
                progress(done, total)
    return Verification(
        target=artifact.target,
        files=files,
        samples=total,
        outputs=tuple(output.result() for output in outputs.values()),
        executions=tuple(executions),
        layers=() if compared is None else compared.result(),
        layer_reference=truths.exact_name,
        limits=limits,
    )


def _compare_outputs(
    artifact: Artifact,
    runtime: Runtime,
    truths: Truths,
    outputs: Mapping[str, OutputComparing],
    batch: Batch,
    exact: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
) -> None:
    exact = exact or truths.exact.run(outputs, batch.feeds)
    reference = exact if truths.reference else {}
    simulation = truths.simulation.run(outputs, batch.feeds) if truths.reference else exact
    before: Mapping[str, np.ndarray] = {}
    if truths.float_model is truths.simulation:
        before = simulation
    elif truths.float_model is not None:
        before = truths.float_model.run(outputs, batch.feeds)
    with _naming(artifact):
        got = runtime.run(batch.by_op(), list(outputs))
    for name, output in outputs.items():
        known = (reference.get(name), before.get(name), own.get(name))
        output.add(np.asarray(got[name]), simulation[name], *known)


@contextmanager
def _naming(artifact: Artifact) -> Iterator[None]:
    """Turns what a runtime itself raises into an error that names the file."""
    try:
        yield
    except GraphQuantError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"artifact ({artifact.paths[0]}) cannot be run as {artifact.target}: {error}"
        ) from error
