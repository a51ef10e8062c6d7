"""Names of the nodes of a deployed layer: ``<scope of the layer>/act_quant`` and so on."""

from __future__ import annotations

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_export.targets.ascend.sites import Site


def free_scope(editor: GraphDefEditor, site: Site, name: str) -> str:
    """`name` in the scope that the layer at `site` stands in, made unique as TensorFlow does."""
    parent = site.layer.name.rpartition("/")[0]
    return editor.unique_name(f"{parent}/{name}" if parent else name)
