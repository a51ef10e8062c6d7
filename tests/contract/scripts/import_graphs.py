"""Imports and plans the graphs that come in on stdin: a length of 4 bytes, then a GraphDef.

For each, one line goes out: ``read``, ``refused`` and the message, or ``failed`` and a traceback.
TensorFlow may also end the process.
"""

from __future__ import annotations

import resource
import struct
import sys
import traceback

import tensorflow as tf
from google.protobuf.message import DecodeError

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import import_frozen

EXTRA_BYTES = 2 * 2**30
LONGEST_MESSAGE = 2000


def answer(content: bytes) -> str:
    try:
        graph_def = tf.compat.v1.GraphDef.FromString(content)
    except DecodeError:
        return "refused"
    try:
        plan_graph(import_frozen(graph_def))
    except GraphQuantError as error:
        return f"refused {error}" if len(str(error)) < LONGEST_MESSAGE else f"too long: {error}"
    except BaseException:  # noqa: BLE001 whatever else it is, the test has to see it
        return f"failed {traceback.format_exc()}"
    return "read"


def main() -> None:
    import_frozen(tf.Graph().as_graph_def())
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + EXTRA_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    while length := sys.stdin.buffer.read(4):
        content = sys.stdin.buffer.read(struct.unpack("<I", length)[0])
        print(answer(content).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
