"""Start the training of a rewritten graph from the checkpoint of a float model."""

from __future__ import annotations

import logging
import os

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError
from graphquant_core.listing import listed

logger = logging.getLogger(__name__)
v1 = tf.compat.v1


def restore_float_checkpoint(
    session: tf.compat.v1.Session, checkpoint: str | os.PathLike[str]
) -> list[tf.Variable]:
    """Restore every variable that `checkpoint` holds, and initialise the others.

    A plain Saver refuses a float checkpoint on a rewritten graph, because the ranges aren't in
    it. Those, and other variables that it doesn't hold, such as an optimizer's, get their start
    values. Works on a checkpoint of the rewritten graph as well, which holds everything.

    Args:
        session: A session on the rewritten graph.
        checkpoint: Prefix of a checkpoint, as `tf.compat.v1.train.Saver.save` returned it.

    Returns:
        The variables that were initialised, because the checkpoint doesn't hold them.

    Raises:
        ConfigError: `session` is none.
        ModelFileError: There is no checkpoint there, it shares no variable with the graph, or a
            shape differs. Nothing is restored then.
    """
    if not hasattr(session, "run") or not hasattr(session, "graph"):
        raise ConfigError(f"session ({type(session).__name__}) must be a session")
    known = _variables_in(checkpoint)
    with session.graph.as_default():
        variables = v1.global_variables()
        found = [variable for variable in variables if variable.op.name in known]
        missing = [variable for variable in variables if variable.op.name not in known]
        if not found:
            raise ModelFileError(
                f'checkpoint ("{checkpoint}") holds none of the {len(variables)} variables of the '
                f"graph; it holds {listed(sorted(known), nothing='nothing')}"
            )
        for variable in found:
            stored = list(known[variable.op.name])
            if not variable.shape.is_compatible_with(stored):
                raise ModelFileError(
                    f'checkpoint ("{checkpoint}") holds "{variable.op.name}" with shape {stored}, '
                    f"the graph has it with shape {variable.shape.as_list()}"
                )
        # A group of them would change ops that this session may have run already.
        session.run([variable.initializer for variable in missing])
        v1.train.Saver(found).restore(session, os.fspath(checkpoint))
    for variable in missing:
        logger.info('variable "%s" is not in the checkpoint and starts afresh', variable.op.name)
    return missing


def _variables_in(checkpoint: str | os.PathLike[str]) -> dict[str, list[int]]:
    """Shape of each variable in the checkpoint, by name."""
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise ModelFileError(f"checkpoint ({type(checkpoint).__name__}) must be a path")
    try:
        shapes: dict[str, list[int]] = v1.train.load_checkpoint(
            os.fspath(checkpoint)
        ).get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ModelFileError(f'checkpoint ("{checkpoint}") cannot be read: {error}') from error
    return shapes
