"""One quantisation tool on one float network, in a process of its own.

``python -m benchmarks.peer_tools TOOL FOLDER`` reads ``float.pb`` and ``data.npz`` of the folder
and prints what came of it as JSON. Seconds are those of the tool's own calls, without imports.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow import lite

from benchmarks.ai_edge_venv import quantize_in_venv

INPUT = "images"
FLOAT = "float.pb"
DATA = "data.npz"


class Given(NamedTuple):
    """What every tool gets.

    Attributes:
        graph_def: The frozen float graph.
        output: Name of the op that is its output.
        samples: Some hundred inputs.
        unlabelled: More inputs, for a tool that learns from them.
        folder: Where files go.
    """

    graph_def: tf.GraphDef
    output: str
    samples: np.ndarray
    unlabelled: np.ndarray
    folder: Path


Run = Callable[[np.ndarray], np.ndarray]
Made = tuple[Path, Run]
"""The file of a tool, and what runs it in its runtime."""


def tflite_converter(given: Given) -> Made:
    """TensorFlow's converter, full integer, with floats at both ends."""
    converter = _converter(given)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([image[None]] for image in given.samples)
    return _written(given, "model.tflite", converter.convert(), _litert)


def float_tflite(given: Given) -> bytes:
    """The float model as a .tflite file with a signature."""
    saved = str(given.folder / "saved_model")
    graph = tf.Graph()
    with graph.as_default(), tf.Session() as session:
        tf.import_graph_def(given.graph_def, name="")
        tensors = [graph.get_tensor_by_name(f"{name}:0") for name in (INPUT, given.output)]
        tf.saved_model.simple_save(session, saved, {INPUT: tensors[0]}, {"output": tensors[1]})
    # Version 1 of the converter writes no signature.
    content: bytes = lite.TFLiteConverter.from_saved_model(saved).convert()
    return content


def ai_edge(given: Given, recipe: str) -> Made:
    """ai-edge-quantizer, in an environment of its own."""
    source, target = given.folder / "float.tflite", given.folder / "model.tflite"
    source.write_bytes(float_tflite(given))
    np.save(given.folder / "samples.npy", given.samples)
    quantize_in_venv(recipe, source, given.folder / "samples.npy", target)
    return target, functools.partial(_litert, target)


def onnx_runtime(given: Given, method: str) -> Made:
    """ONNX Runtime's quantize_static in QDQ form, a scale for each output channel."""
    import tf2onnx
    from onnxruntime import quantization

    source, target = given.folder / "float.onnx", given.folder / "model.onnx"
    tf2onnx.convert.from_graph_def(
        given.graph_def,
        input_names=[f"{INPUT}:0"],
        output_names=[f"{given.output}:0"],
        output_path=str(source),
        opset=17,
    )
    prepared = given.folder / "prepared.onnx"
    quantization.shape_inference.quant_pre_process(
        str(source), str(prepared), skip_symbolic_shape=True
    )
    quantization.quantize_static(
        str(prepared),
        str(target),
        _Reader(given.samples),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod[method],
    )
    return target, functools.partial(_onnx, target)


def mnn_converter(given: Given, bits: int, asymmetric: bool) -> Made:
    """MNN's converter with weights of `bits` bits; activations stay float."""
    from graphquant_export.targets.mnn.wheel import run_mnnconvert

    target = given.folder / "model.mnn"
    arguments = [
        *("-f", "TF", "--modelFile", str(given.folder / FLOAT), "--MNNModel", str(target)),
        *("--bizCode", "MNN", "--optimizePrefer", "2", "--weightQuantBits", str(bits)),
        f"--weightQuantAsymmetric={str(asymmetric).lower()}",
    ]
    done = run_mnnconvert(tuple(arguments), str(given.folder))
    assert target.exists(), done.stdout
    return target, functools.partial(_mnn, target, given.output)


def quantize(given: Given, target: str) -> Made:
    """`graphquant quantize`."""
    from graphquant_export import export
    from graphquant_export import quantize as find_record

    model = _loaded(given)
    record = find_record(model, {INPUT: given.samples}, target)
    return _artifact(export(model, record, target, given.folder / "model"))


def quantize_weights(given: Given, target: str, bits: int) -> Made:
    """`graphquant quantize --weight-only`."""
    import attrs

    from graphquant_export import export
    from graphquant_wq import quantize_frozen_weights

    found = quantize_frozen_weights(
        given.graph_def, [given.output], bits, samples={INPUT: given.samples}
    )
    model = attrs.evolve(_loaded(given), graph_def=found.graph_def)
    return _artifact(export(model, found.params, target, given.folder / "model"))


def tune(given: Given, target: str, **options: Any) -> Made:
    """`graphquant tune`."""
    import attrs

    from graphquant_export import export
    from graphquant_tune import tune as tuned

    found = tuned(_loaded(given), {INPUT: given.unlabelled}, target, **options)
    model = attrs.evolve(_loaded(given), graph_def=found.graph_def)
    return _artifact(export(model, found.factors, target, given.folder / "model"))


TOOLS: Mapping[str, Callable[[Given], Made]] = {
    "TFLiteConverter, full integer": tflite_converter,
    "ONNX Runtime, MinMax": functools.partial(onnx_runtime, method="MinMax"),
    "ONNX Runtime, Entropy": functools.partial(onnx_runtime, method="Entropy"),
    "ONNX Runtime, Percentile": functools.partial(onnx_runtime, method="Percentile"),
    "ai-edge-quantizer, int8": functools.partial(ai_edge, recipe="static_wi8_ai8"),
    "graphquant quantize, litert": functools.partial(quantize, target="litert"),
    "graphquant quantize, onnx": functools.partial(quantize, target="onnx"),
    "graphquant quantize, mnn": functools.partial(quantize, target="mnn"),
    "graphquant tune, litert": functools.partial(tune, target="litert"),
    "MNN, 8-bit weights": functools.partial(mnn_converter, bits=8, asymmetric=False),
    "ai-edge-quantizer, 4-bit weights": functools.partial(ai_edge, recipe="weight_only_wi4_afp32"),
    "MNN, 4-bit weights, symmetric": functools.partial(mnn_converter, bits=4, asymmetric=False),
    "MNN, 4-bit weights, asymmetric": functools.partial(mnn_converter, bits=4, asymmetric=True),
    "graphquant quantize, 8-bit weights, mnn": functools.partial(
        quantize_weights, target="mnn", bits=8
    ),
    "graphquant quantize, 4-bit weights, litert": functools.partial(
        quantize_weights, target="litert", bits=4
    ),
    "graphquant quantize, 4-bit weights, mnn": functools.partial(
        quantize_weights, target="mnn", bits=4
    ),
    "graphquant tune, 4-bit weights, mnn": functools.partial(
        tune, target="mnn", weight_only=True, bits=4
    ),
}


def measure(tool: str, folder: Path) -> dict[str, float]:
    """Accuracy, agreement with the float network, bytes of the file, seconds."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    with np.load(folder / DATA) as data:
        arrays = dict(data)
    graph_def = tf.GraphDef.FromString((folder / FLOAT).read_bytes())
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / FLOAT).write_bytes(graph_def.SerializeToString())
        given = Given(
            graph_def, str(arrays["output"]), arrays["samples"], arrays["unlabelled"], Path(room)
        )
        started = time.perf_counter()
        path, run = TOOLS[tool](given)
        seconds = time.perf_counter() - started
        chosen = run(arrays["images"]).argmax(1)
        size = path.stat().st_size
    return {
        "accuracy": float(np.mean(chosen == arrays["labels"])),
        "agreement": float(np.mean(chosen == arrays["answers"])),
        "kilobytes": size / 1000,
        "seconds": seconds,
    }


class _Reader:
    """Samples one by one, as ONNX Runtime asks for them."""

    def __init__(self, samples: np.ndarray) -> None:
        self._feeds = iter([{f"{INPUT}:0": image[None]} for image in samples])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _converter(given: Given) -> Any:
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(given.graph_def, name="")
        session = tf.Session(graph=graph)
        tensors = [graph.get_tensor_by_name(f"{name}:0") for name in (INPUT, given.output)]
        return tf.lite.TFLiteConverter.from_session(session, tensors[:1], tensors[1:])


def _written(given: Given, name: str, content: bytes, run: Callable[..., np.ndarray]) -> Made:
    path = given.folder / name
    path.write_bytes(content)
    return path, functools.partial(run, path)


def _loaded(given: Given) -> Any:
    from graphquant_export import LoadedModel

    return LoadedModel(given.graph_def, (INPUT,), (given.output,))


def _artifact(artifact: Any) -> Made:
    """An artifact of ours, in the runtime of its target."""
    from graphquant_core import load_registry

    runtime = load_registry().exporters[artifact.target].runtime(artifact)
    (output,) = artifact.source.outputs
    return artifact.paths[0], lambda images: runtime.run({INPUT: images}, [output])[output]


def _litert(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    if taken["dtype"] == np.int8:
        scale, zero = taken["quantization"]
        images = np.clip(np.rint(images / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(taken["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def _onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    from graphquant_export.targets.onnx.sessions import session_config

    options = onnxruntime.SessionOptions()
    # Without it sums saturate at 16 bits on some processors, whoever made the file.
    for key, value in session_config(17).items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(path), options)
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _mnn(path: Path, output: str, images: np.ndarray) -> np.ndarray:
    from graphquant_export.targets.mnn.runtime import run_mnn_model

    return run_mnn_model(path, {INPUT: images}, [output])[output]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
