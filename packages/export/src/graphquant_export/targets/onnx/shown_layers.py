"""What ONNX Runtime's own kernels returned for the layers, of the run that gives the outputs.

ONNX Runtime merges a layer and the quantiser behind it into one kernel of integers, unless the
layer's sums are an output of the model. So its codes are what is shown: the model that ONNX Runtime
made of the file gets them as outputs, and runs as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from graphquant_core.runtime import LayerOutput
from graphquant_export.targets.onnx.kernels import integer_kernel, result_grid
from graphquant_export.targets.onnx.layer_results import LayerResult
from graphquant_export.targets.onnx.model_file import ModelView
from graphquant_export.targets.onnx.sessions import Session

Array = npt.NDArray[Any]


@attrs.frozen
class _Codes:
    """The tensor that a kernel writes codes into, and their grid."""

    tensor: str
    scale: float
    zero_point: Array

    def ends(self) -> tuple[float, float]:
        kind = np.iinfo(self.zero_point.dtype)
        low, high = (self.scale * (code - int(self.zero_point)) for code in (kind.min, kind.max))
        return low, high

    def values(self, codes: Array) -> npt.NDArray[np.float32]:
        steps = codes.astype(np.int32) - int(self.zero_point)
        return steps.astype(np.float32) * np.float32(self.scale)


class ShownLayers:
    """A session of `model` that gives what each layer returned.

    Args:
        model: The file.
        optimized: What ONNX Runtime makes of it.
        results: The result of each layer that is shown.
        where: What to call the file in messages.

    Raises:
        ModelFileError: ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        optimized: onnx.ModelProto,
        results: Mapping[str, LayerResult],
        where: str,
    ) -> None:
        self._results = results
        self._codes = _all_codes(ModelView(optimized), results)
        merged, shown = optimized, -1
        # Sums that are shown are merged with nothing, which may part what stands beside them, too.
        while shown != len(self._codes):
            shown = len(self._codes)
            floats = [each.tensor for name, each in results.items() if name not in self._codes]
            types = dict.fromkeys(floats, onnx.TensorProto.FLOAT)
            merged = Session(_with_outputs(model, types), where).optimized
            still = {name: results[name] for name in self._codes}
            self._codes = _all_codes(ModelView(merged), still)
        types = {
            codes.tensor: onnx.helper.np_dtype_to_tensor_dtype(codes.zero_point.dtype)
            for codes in self._codes.values()
        }
        self._session = Session(_with_outputs(merged, types), where, optimize=False)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        """What each layer returned, by its name: codes where it rounds, else sums."""
        tensors = {
            name: self._codes[name].tensor if name in self._codes else result.tensor
            for name, result in self._results.items()
        }
        wanted = list(dict.fromkeys(tensors.values()))
        values = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        return {name: self._output(name, values[tensor]) for name, tensor in tensors.items()}

    def _output(self, layer: str, value: Array) -> LayerOutput:
        result, codes = self._results[layer], self._codes.get(layer)
        if codes is None:
            return LayerOutput(result.node, result.in_tensorflow(value))
        value = result.in_tensorflow(codes.values(value))
        return LayerOutput(result.node, value, codes.scale, codes.ends())


def _all_codes(optimized: ModelView, results: Mapping[str, LayerResult]) -> dict[str, _Codes]:
    """What the kernels of these layers round, by the layers that have such a one."""
    found = {name: _codes(optimized, result) for name, result in results.items()}
    return {name: codes for name, codes in found.items() if codes is not None}


def _codes(optimized: ModelView, result: LayerResult) -> _Codes | None:
    """What the layer's kernel rounds; ``None`` where it returns sums, or adds its bias later."""
    kernel = integer_kernel(optimized, result.maker)
    grid = None if kernel is None else result_grid(optimized, kernel)
    if kernel is None or grid is None or not result.direct:
        return None
    scale, zero_point = (numpy_helper.to_array(optimized.stored[name]) for name in grid)
    return _Codes(kernel.output[0], float(scale), zero_point.reshape(()))


def _with_outputs(model: onnx.ModelProto, types: Mapping[str, int]) -> onnx.ModelProto:
    """`model` with these tensors among its outputs, by their type."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    given = {value.name for value in copy.graph.output}
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, None)
        for name, kind in types.items()
        if name not in given
    )
    return copy
