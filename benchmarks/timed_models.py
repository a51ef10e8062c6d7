"""Models in their runtimes, on one thread, each as a function that runs once and times itself."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.converter import convert

Timed = Callable[[], float]


def timed(run: Callable[[], object]) -> Timed:
    """A function that calls `run` and returns its seconds."""

    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return seconds


def onnx_model(path: Path, image: np.ndarray) -> Timed:
    """`path` in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: image}
    return timed(lambda: session.run(None, feeds))


def litert_model(path: Path, image: np.ndarray) -> Timed:
    """`path` in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    (given,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(given["index"], image.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], image)
    return timed(interpreter.invoke)


def mnn_model(path: Path, image: np.ndarray) -> Timed:
    """`path` in MNN."""
    import MNN

    net = MNN.Interpreter(str(path))
    session = net.createSession({"backend": "CPU", "numThread": 1})
    tensor = net.getSessionInput(session, "images")
    net.resizeTensor(tensor, image.shape)
    net.resizeSession(session)
    layout = MNN.Tensor_DimensionType_Tensorflow
    net.getSessionInput(session, "images").copyFrom(
        MNN.Tensor(image.shape, MNN.Halide_Type_Float, image, layout)
    )
    # The interpreter goes with the function: a session doesn't keep it alive.
    return timed(lambda: net.runSession(session))


def float_onnx(frozen: tf.GraphDef, output: str, path: Path) -> None:
    """Write the float graph as ONNX Runtime takes it."""
    import tf2onnx

    model, _ = tf2onnx.convert.from_graph_def(
        frozen, input_names=["images:0"], output_names=[f"{output}:0"], opset=17
    )
    path.write_bytes(model.SerializeToString())


def float_litert(frozen: tf.GraphDef, output: str, path: Path) -> None:
    """Write the float graph as LiteRT takes it."""
    with tempfile.NamedTemporaryFile(suffix=".pb") as file:
        Path(file.name).write_bytes(frozen.SerializeToString())
        converter = tf.lite.TFLiteConverter.from_frozen_graph(file.name, ["images"], [output])
        path.write_bytes(converter.convert())


def float_mnn(frozen: tf.GraphDef, output: str, path: Path) -> None:  # noqa: ARG001 MNN finds it
    """Write the float graph as MNN takes it."""
    source = path.with_suffix(".pb")
    source.write_bytes(frozen.SerializeToString())
    convert(ConverterCommand(source, path))


RUNTIMES = {
    "mnn": (".mnn", float_mnn, mnn_model),
    "onnx": (".onnx", float_onnx, onnx_model),
    "litert": (".tflite", float_litert, litert_model),
}
"""By target: ending of the file, what writes the float model, what loads a model."""
