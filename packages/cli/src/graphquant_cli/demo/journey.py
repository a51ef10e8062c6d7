"""Train the network, quantise it after training and while training, and run what comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_cli.demo.digits import Digits
from graphquant_cli.demo.network import OUTPUT, Network, build_network
from graphquant_cli.optional_packages import need
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.ascend import export_ascend

v1 = tf.compat.v1

HEADER = ("model", "test accuracy", "same digit as float", "file")

_BATCH = 64
_CALIBRATION_IMAGES = 100

Progress = Callable[[int, int], object]


@attrs.frozen
class Result:
    """One of the models.

    Attributes:
        model: What was done.
        accuracy: On the test images.
        agreement: Share of the test images that it gives the digit that the float model does.
        path: The frozen graph.
    """

    model: str
    accuracy: float
    agreement: float
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**attrs.asdict(self), "path": str(self.path)}

    def cells(self) -> tuple[str, ...]:
        """Text, with the cells that `HEADER` names."""
        return (self.model, f"{self.accuracy:.2%}", f"{self.agreement:.2%}", str(self.path))


def run_journey(digits: Digits, folder: Path, epochs: int, progress: Progress) -> list[Result]:
    """The float model, the one quantised after training, and the one trained quantised.

    Args:
        digits: The data.
        folder: Where the files go.
        epochs: Epochs of float training; the quantised training has half as many.
        progress: Called with (epochs done, epochs in all).
    """
    more = max(1, epochs // 2)
    total = epochs + more
    checkpoint = str(folder / "float" / "model.ckpt")
    frozen = folder / "float.pb"
    network = build_network()
    _train(network, digits, epochs, lambda done: progress(done, total), checkpoint, frozen)
    model = v1.GraphDef.FromString(frozen.read_bytes())
    samples = digits.train_images[:_CALIBRATION_IMAGES]
    record = quantize_post_training(model, [OUTPUT], {"images": samples})
    export_ascend(model, [OUTPUT], record, folder / "post_training")
    _train_quantized(digits, folder, more, lambda done: progress(epochs + done, total), checkpoint)
    models = {
        "float": frozen,
        "quantised after training": folder / "post_training_quantized.pb",
        "quantised while training": folder / "trained_quantized.pb",
    }
    found = {name: _predict(path, digits.test_images) for name, path in models.items()}
    return [
        Result(
            name,
            float(np.mean(found[name] == digits.test_labels)),
            float(np.mean(found[name] == found["float"])),
            path,
        )
        for name, path in models.items()
    ]


def _train_quantized(
    digits: Digits, folder: Path, epochs: int, progress: Callable[[int], object], checkpoint: str
) -> None:
    amct = need("graphquant_qat", "demo")
    config, record = str(folder / "config.json"), str(folder / "trained_record.txt")
    network = build_network()
    amct.create_quant_retrain_config(config, network.graph)
    retrain_ops = amct.create_quant_retrain_model(network.graph, config, record)
    frozen = folder / "trained.pb"

    def restore(session: tf.compat.v1.Session) -> None:
        amct.restore_float_checkpoint(session, checkpoint)

    _train(network, digits, epochs, progress, None, frozen, restore, retrain_ops[-1])
    amct.save_quant_retrain_model(frozen, [OUTPUT], record, folder / "trained")


def _train(
    network: Network,
    digits: Digits,
    epochs: int,
    progress: Callable[[int], object],
    checkpoint: str | None,
    frozen: Path,
    restore: Callable[[tf.compat.v1.Session], None] | None = None,
    last: Any = None,
) -> None:
    """Trains `network` and writes it frozen; runs `last` before it is frozen."""
    with network.graph.as_default():
        saver = v1.train.Saver()
        step = v1.train.AdamOptimizer(3e-3 if restore is None else 1e-3).minimize(network.loss)
        initializer = v1.global_variables_initializer()
    random = np.random.default_rng(0)
    with v1.Session(graph=network.graph) as session:
        session.run(initializer)
        if restore is not None:
            restore(session)
        for epoch in range(epochs):
            order = random.permutation(len(digits.train_images))
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                images, labels = digits.train_images[batch], digits.train_labels[batch]
                session.run(step, {network.images: images, network.labels: labels})
            progress(epoch + 1)
        if checkpoint is not None:
            Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
            saver.save(session, checkpoint)
        if last is not None:
            session.run(last)
        graph_def = v1.graph_util.convert_variables_to_constants(
            session, network.graph.as_graph_def(), [OUTPUT]
        )
    frozen.write_bytes(graph_def.SerializeToString(deterministic=True))


def _predict(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The digits that plain TensorFlow computes with the graph at `path`."""
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(path.read_bytes()), name="")
        probabilities = session.run(f"{OUTPUT}:0", {"images:0": images})
    return np.asarray(probabilities.argmax(axis=1))
