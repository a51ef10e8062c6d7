"""Compression parameters of an int8 model: what MNN's converter is told of each layer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf import json_format

from graphquant_export.targets.mnn.compress_params import VERSION
from graphquant_export.targets.mnn.compress_schema import messages
from graphquant_export.targets.mnn.int8.activation_grid import LOWEST, ActivationGrid
from graphquant_export.targets.mnn.int8.mnn_layers import LayerPart

_ROUND_AWAY_FROM_ZERO = 1


def int8_params(parts: Iterable[LayerPart], mnn_uuid: str) -> str:
    """The JSON text for ``--compressionParamsFile``.

    The converter finds an int8 layer by the name of its result alone, as it stands in the .mnn
    file; a layer of which it quantises only the weight it finds by the name of the op.

    Args:
        parts: The layers, with what a model that was converted before calls them.
        mnn_uuid: Identity that the model gets.
    """
    pipeline: Any = messages()["Pipeline"](version=VERSION, mnn_uuid=mnn_uuid)
    params = pipeline.algo.add(type=0).quant_params
    params.round_mode = _ROUND_AWAY_FROM_ZERO
    for part in parts:
        added = params.layer.add(op_name=part.stored.name)
        weight = added.weight.add(name=part.stored.name, bits=8, asymmetric=False)
        if part.output is None or part.input is None:
            # Its result has no name here, so that the converter takes it for no int8 layer.
            _add(added.output, "", ActivationGrid(1.0, 0))
            continue
        weight.scales.extend(float(value) for value in part.scale)
        source, result = part.stored.tensors
        _add(added.input, source, part.input)
        _add(added.output, result, part.output)
    document = json_format.MessageToDict(pipeline, preserving_proto_field_name=True)
    return json.dumps(document, indent=2) + "\n"


def _add(tensors: Any, name: str, grid: ActivationGrid) -> None:
    # Fewer bits than 8 make the runtime compute something else; the ends of the grid don't.
    added = tensors.add(name=name, bits=8, zero_point=grid.zero)
    added.scales.append(float(np.float32(grid.scale)))
    added.clamp_min, added.clamp_max = LOWEST, grid.highest
