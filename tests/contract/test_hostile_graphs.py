"""Damaged graphs; ``--hypothesis-profile=fuzz`` tries many more."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.testing import damaged

v1 = tf.compat.v1
WORKER = Path(__file__).parent / "scripts" / "import_graphs.py"
EXAMPLES = max(300, settings().max_examples)


def whole_graph() -> tf.compat.v1.GraphDef:
    """A frozen network with a function, control edges and constants of several kinds."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 2], "x")
        weight = np.arange(16, dtype=np.float32).reshape(1, 1, 2, 8) / 16
        y = tf.nn.conv2d(x, weight, 1, "SAME", name="conv")
        y = v1.nn.fused_batch_norm(
            y, np.ones(8, "f"), np.zeros(8, "f"), np.zeros(8, "f"), np.ones(8, "f"),
            is_training=False,
        )[0]  # fmt: skip
        y = tf.nn.relu(y)
        y = tf.nn.avg_pool2d(y, 2, 2, "VALID", name="pool")
        y = tf.reshape(y, [-1, 32])
        with tf.control_dependencies([y]):
            y = tf.matmul(y, np.ones([32, 3], "f"), name="dense")
        y = tf.function(lambda z: z * 2.0)(y)
        tf.nn.softmax(y, name="prob")
    return graph.as_graph_def()


WHOLE = whole_graph()
BINARY, TEXT = WHOLE.SerializeToString(), text_format.MessageToString(WHOLE).encode()
PIECES = tuple(node.name.encode() for node in WHOLE.node)
TEXT_PIECES = (b"node {", b"attr {", b"tensor {", b"}", b"dtype: 99", b"size: -2", b"library {}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@settings(max_examples=EXAMPLES)
@given(content=damaged(BINARY, PIECES) | st.binary(max_size=100))
def test_a_damaged_binary_graph_is_read_or_refused(
    content: bytes, folder: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are a GraphDef with nodes, or a GraphQuantError; in bounded time and memory."""
    path = folder / "model.pb"
    path.write_bytes(content)
    graph_def = attempt(lambda: load_graph_def(path))
    assert isinstance(graph_def, GraphQuantError) or graph_def.node


@settings(max_examples=EXAMPLES)
@given(content=damaged(TEXT, TEXT_PIECES) | st.binary(max_size=100))
def test_a_damaged_text_graph_is_read_or_refused(
    content: bytes, folder: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """As the law of binary graphs, for text."""
    path = folder / "model.pbtxt"
    path.write_bytes(content)
    graph_def = attempt(lambda: load_graph_def(path))
    assert isinstance(graph_def, GraphQuantError) or graph_def.node


NUMBERS = st.sampled_from([-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 2**31, 2**40, 2**62, 2**63 - 1])
DTYPES = st.integers(-1, 30) | st.integers(100, 130)
NAMES = [node.name for node in WHOLE.node]
OTHER_OPS = ["ConcatV2", "Enter", "Exit", "If", "Merge", "NextIteration", "NoOp", "Split"]
OTHER_OPS += ["StatefulPartitionedCall", "Switch", "VarHandleOp", "While", "_Arg", "_Retval"]
OP_TYPES = sorted(
    {node.op for node in WHOLE.node}
    | {function.signature.name for function in WHOLE.library.function}
    | set(OTHER_OPS)
)


@st.composite
def rewritten(draw: st.DrawFn) -> bytes:
    """The graph with a few fields of its nodes set to something else."""
    graph_def = v1.GraphDef.FromString(BINARY)
    for _ in range(draw(st.integers(1, 3))):
        node = draw(st.sampled_from(list(graph_def.node)))
        draw(st.sampled_from(CHANGES))(draw, graph_def, node)
    return graph_def.SerializeToString()


def change_op(draw: st.DrawFn, _: Any, node: Any) -> None:
    node.op = draw(st.sampled_from(OP_TYPES))


def change_input(draw: st.DrawFn, _: Any, node: Any) -> None:
    name = draw(st.sampled_from([*NAMES, "", "^", ":", "x:-1", "absent"]))
    name = draw(st.sampled_from(["", "^"])) + name + draw(st.sampled_from(["", ":0", ":7", ":x"]))
    if node.input and draw(st.booleans()):
        node.input[draw(st.integers(0, len(node.input) - 1))] = name
    else:
        node.input.append(name)


def change_name(draw: st.DrawFn, _: Any, node: Any) -> None:
    node.name = draw(st.sampled_from([*NAMES, "", "_", "a b", "/", "\u00e9", "n" * 5000]))


def change_device(draw: st.DrawFn, _: Any, node: Any) -> None:
    node.device = draw(st.sampled_from(["/gpu:99", "/job:x", "no device", ":::", "\u00e9"]))


def change_attribute(draw: st.DrawFn, graph_def: Any, node: Any) -> None:
    if not node.attr:
        return
    name = draw(st.sampled_from(sorted(node.attr)))
    other = draw(st.sampled_from([n for n in graph_def.node if n.attr]))
    kind = draw(st.sampled_from(["delete", "copy", "type", "shape", "tensor", "i", "func", "list"]))
    value = node.attr[name]
    if kind == "delete":
        del node.attr[name]
    elif kind == "copy":
        value.CopyFrom(other.attr[draw(st.sampled_from(sorted(other.attr)))])
    elif kind == "type":
        value.type = draw(DTYPES)
    elif kind == "shape":
        value.shape.dim.add(size=draw(NUMBERS))
        value.shape.unknown_rank = draw(st.booleans())
    elif kind == "tensor":
        tensor = value.tensor
        tensor.dtype = draw(st.just(tensor.dtype) | DTYPES)
        for _ in range(draw(st.integers(0, 2))):
            tensor.tensor_shape.dim.add(size=draw(NUMBERS))
        tensor.tensor_content = tensor.tensor_content[: draw(st.integers(0, 9))]
        tensor.string_val.extend(draw(st.lists(st.binary(max_size=3), max_size=2)))
    elif kind == "i":
        value.i = draw(NUMBERS)
    elif kind == "func":
        value.func.name = draw(st.sampled_from([*OP_TYPES, ""]))
    else:
        value.list.i.extend(draw(st.lists(NUMBERS, max_size=5)))


def change_function(draw: st.DrawFn, graph_def: Any, _: Any) -> None:
    function = graph_def.library.function[0]
    if draw(st.booleans()):
        function.signature.name = draw(st.sampled_from(OP_TYPES))
    else:
        draw(st.sampled_from([change_op, change_input, change_name, change_attribute]))(
            draw, graph_def, draw(st.sampled_from(list(function.node_def)))
        )


CHANGES = [change_op, change_input, change_name, change_device, change_attribute, change_function]


class Worker:
    """A process that imports graphs, started anew when TensorFlow ended it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def answer(self, content: bytes) -> str:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self.process.stdout is not None
            assert self.process.stdout.readline() == b"ready\n"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(struct.pack("<I", len(content)) + content)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            status = self.process.wait()
            self.process = None
            return f"ended with status {status}"
        return line.decode()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    if worker.process is not None:
        worker.process.kill()
        worker.process.wait()


@settings(max_examples=EXAMPLES)
@given(content=rewritten())
def test_a_graph_with_wrong_nodes_is_imported_or_refused(content: bytes, worker: Worker) -> None:
    """A GraphDef whose nodes are wrong is a graph with a plan, or a GraphQuantError; the process
    goes on.
    """
    assert worker.answer(content).split()[0] in ("read", "refused")


@settings(max_examples=EXAMPLES)
@given(content=damaged(BINARY, PIECES))
def test_a_damaged_graph_is_imported_or_refused(content: bytes, worker: Worker) -> None:
    """Bytes that may still be a GraphDef are a graph, or a GraphQuantError; the process goes on."""
    assert worker.answer(content).split()[0] in ("read", "refused")
