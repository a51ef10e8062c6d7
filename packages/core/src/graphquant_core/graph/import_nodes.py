"""Import of many ops that no device is given to.

`tf.import_graph_def` asks each op that it imports for its device, for the devices of the caller's
scopes, and for the devices of the ops that it stands beside. That takes a third of an import, most
of it for raising and catching an error where an op stands beside none. What is called here instead
has no public counterpart, and behaves the same in TensorFlow 2.16 to 2.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session as c_api
from tensorflow.python.framework import c_api_util

v1 = tf.compat.v1


def import_nodes(graph: tf.Graph, graph_def: Any, inputs: Mapping[str, tf.Tensor]) -> None:
    """`tf.import_graph_def(graph_def, inputs, name="")` into `graph`, outside of all scopes.

    Args:
        graph: The graph.
        graph_def: The nodes, each with all attributes of its op, and the functions that they call.
            No node has a name that the graph has already.
        inputs: Tensors of `graph` that stand for names in `graph_def`.
    """
    with (
        graph.as_default(),
        tf.control_dependencies(None),
        v1.device(None),
        v1.name_scope(None),
    ):
        if any(node.device for node in graph_def.node):
            tf.import_graph_def(graph_def, input_map=inputs, name="")
            return
        functions = v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
        tf.import_graph_def(functions, name="")
        _import_without_devices(graph, graph_def, inputs)


def _import_without_devices(
    graph: tf.Graph, graph_def: Any, inputs: Mapping[str, tf.Tensor]
) -> None:
    options = c_api_util.ScopedTFImportGraphDefOptions()
    c_api.TF_ImportGraphDefOptionsSetPrefix(options.options, "")
    # To find names that are free, TensorFlow lists every prefix of every name in the graph.
    c_api.TF_ImportGraphDefOptionsSetUniquifyNames(options.options, False)
    for name, tensor in inputs.items():
        node, _, port = name.partition(":")
        output = tensor._as_tf_output()
        c_api.TF_ImportGraphDefOptionsAddInputMapping(options.options, node, int(port or 0), output)
    with (
        graph._mutation_lock(),
        graph._c_graph.get() as c_graph,
        c_api_util.tf_buffer(graph_def.SerializeToString()) as buffer,
    ):
        results = c_api.TF_GraphImportGraphDefWithResults(c_graph, buffer, options.options)
        c_api.TF_DeleteImportGraphDefResults(results)
        graph._add_new_tf_operations(compute_devices=False)
