"""A frozen GraphDef from a .pb or .pbtxt file."""

from __future__ import annotations

from collections.abc import Sequence

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import check_outputs, import_frozen, load_graph_def
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.inline import inline_layers
from graphquant_export.inputs.kind import ModelPath
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.unused_ops import unused_ops


def load_graph_file(model: ModelPath, outputs: Sequence[str] | None) -> LoadedModel:
    """The model in a file.

    Raises: as `graphquant_export.inputs.load_model`.
    """
    graph_def = load_graph_def(model.path, "model")
    try:
        graph = import_frozen(graph_def)
    except ModelFileError as error:
        raise ModelFileError(f"{model.argument}: {error}") from error
    names = unused_ops(graph, model.argument) if outputs is None else outputs
    names = check_outputs(graph_def, names)
    return finish(*inline_layers(graph_def, names))
