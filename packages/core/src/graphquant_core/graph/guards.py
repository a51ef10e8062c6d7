"""What must be true of a graph before it may be rewritten."""

from __future__ import annotations

import gc
import re

import tensorflow as tf

from graphquant_core.exceptions import (
    FinalizedGraphError,
    GradientsExistError,
    SessionExistsError,
)
from graphquant_core.graph.replica import current_replica, in_replica
from graphquant_core.graph.view import GraphView

# tf.gradients starts from an op called grad_ys_<n>: a Fill, or an Identity of what the caller gave.
# The types are those that only gradient functions and optimizers create.
# Conv2DBackpropInput is not among them: it is a layer as well.
_GRADIENT_NAME = re.compile(r"(^|/)grad_ys_\d+$")
_STARTING_TYPES = ("Fill", "Identity")
_GRADIENT_TYPE = re.compile(
    r"^(Conv2DBackpropFilter|DepthwiseConv2dNativeBackprop(Input|Filter)|"
    r"(Resource)?(Sparse)?Apply[A-Z]\w*|(Relu|Relu6|BiasAdd|MaxPool|AvgPool|FusedBatchNorm)"
    r"Grad(V\d)?)$"
)


def check_rewritable(view: GraphView) -> None:
    """Return when the graph can be rewritten in place.

    Raises:
        FinalizedGraphError: The graph is finalised.
        GradientsExistError: Gradients were built; they would go past the new ops.
        SessionExistsError: A session on the graph is open; TensorFlow ignores edits of ops that
            a session has run, without an error.
    """
    check_extensible(view)
    gradient = first_gradient_op(view)
    if gradient is not None:
        raise GradientsExistError(
            f'graph already has gradients (first op "{gradient.name}", {gradient.type}): '
            "quantise the graph before optimizer.minimize() or tf.gradients() is called"
        )
    if any(_open_sessions(view.graph)):
        raise SessionExistsError(
            "a session on this graph is open, and TensorFlow ignores changes to ops that a "
            "session has run: quantise the graph first and make the session after it, or close "
            "the session"
        )


def check_extensible(view: GraphView) -> None:
    """Return when ops can be added to the graph.

    Raises:
        FinalizedGraphError: The graph is finalised.
    """
    if view.graph.finalized:
        raise FinalizedGraphError(
            "graph is finalized, so that nothing can be added: quantise it before "
            "graph.finalize(), and before a MonitoredTrainingSession is made"
        )


def first_gradient_op(view: GraphView) -> tf.Operation | None:
    """The first op that a gradient function or an optimizer created in the current replica."""
    replica = current_replica()
    made = set(view.of_types(kind for kind in view.types if _GRADIENT_TYPE.match(kind)))
    made.update(_gradient_starts(view))
    if not made:
        return None
    return next((op for op in view.operations if op in made and in_replica(op.name, replica)), None)


def gradient_ops(view: GraphView) -> set[tf.Operation]:
    """Every op that tf.gradients created, and what is computed from them."""
    starts = _gradient_starts(view)
    return view.downstream(starts) if starts else set()


def _gradient_starts(view: GraphView) -> list[tf.Operation]:
    # Those of one type: to ask 100,000 ops for their names takes longer than all else here.
    return [op for op in view.of_types(_STARTING_TYPES) if _GRADIENT_NAME.search(op.name)]


def _open_sessions(graph: tf.Graph) -> list[tf.compat.v1.Session]:
    # A graph doesn't know its sessions; they are what refers to it. `_closed` is private to
    # Session (there since 1.0; tested in 2.16 to 2.21) and has no public counterpart.
    referrers = gc.get_referrers(graph)
    # Each call walks every object that there is, so that one asks for all of them, and only where
    # a namespace looks like a session's: the others are those of the graph's ops.
    namespaces = [found for found in referrers if isinstance(found, dict) and "_closed" in found]
    owners = gc.get_referrers(*namespaces) if namespaces else []
    return [
        owner
        for owner in (*referrers, *owners)
        if isinstance(owner, (tf.compat.v1.Session, tf.compat.v1.InteractiveSession))
        and owner.graph is graph
        and not owner._closed  # noqa: SLF001 - see above
    ]
