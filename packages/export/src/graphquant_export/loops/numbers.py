"""Evaluates counters, limits and places: what a loop computes from constants alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session
from graphquant_export.loops.piece import Piece


class Numbers:
    """Runs pieces in sessions that `stack` closes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sessions: dict[Piece, tf.compat.v1.Session] = {}
        self._calls: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def evaluate(
        self, piece: Piece, tensor: tf.Tensor, known: Mapping[int, npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """The value of `tensor`, which needs no argument of `piece` but the `known` ones.

        Args:
            piece: What is run.
            tensor: A tensor of its graph.
            known: Values of its arguments, by their index.
        """
        for index, value in known.items():
            if piece.arguments[index] is tensor:
                return value
        key = (piece, tensor.name, *known)
        if key not in self._calls:
            fed = [piece.arguments[index] for index in known]
            self._calls[key] = self._session(piece).make_callable(tensor, fed)
        return np.asarray(self._calls[key](*known.values()))

    def _session(self, piece: Piece) -> tf.compat.v1.Session:
        if piece not in self._sessions:
            session = self._stack.enter_context(cpu_session(piece.graph, rewritten=False))
            self._sessions[piece] = session
        return self._sessions[piece]
