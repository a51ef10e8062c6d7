"""Every error that graphquant raises: one class per mistake, each a subclass of a builtin."""

from __future__ import annotations

_LONGEST = 3000
"""Characters of a message: what a name or a text that was given has more is left out."""


class GraphQuantError(Exception):
    """Any error that graphquant raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        half = _LONGEST // 2
        return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


class PluginError(GraphQuantError, RuntimeError):
    """A plugin breaks its contract, or two plugins claim the same name or op type."""


class ConfigError(GraphQuantError, ValueError):
    """A configuration file, an option or an argument has an unknown key or a wrong value."""


class UnknownNameError(GraphQuantError, ValueError):
    """A name was looked up that nothing is registered under."""


class BitsError(GraphQuantError, ValueError):
    """A number of bits is not an integer or lies outside the allowed range."""


class RangeError(GraphQuantError, ValueError):
    """A range, scale, offset, shape or axis is impossible, such as a minimum above its maximum."""


class NonFiniteError(GraphQuantError, ValueError):
    """An array that must be finite holds NaN or infinity."""


class GraphStateError(GraphQuantError, RuntimeError):
    """The graph is in a state in which a rewrite would fail or be ignored."""


class SessionExistsError(GraphStateError):
    """A session has already run on the graph, so TensorFlow would ignore a rewrite."""


class GradientsExistError(GraphStateError):
    """Gradients were built before the rewrite and would not belong to the rewritten graph."""


class FinalizedGraphError(GraphStateError):
    """The graph is finalized and accepts no more operations."""


class NoLayersError(GraphQuantError, ValueError):
    """The graph or the configuration holds no layer to quantise."""


class UnsupportedLayerError(GraphQuantError, ValueError):
    """A layer was asked for that can't be quantised."""


class RecordError(GraphQuantError, ValueError):
    """A record of scales and offsets is malformed or doesn't fit the graph."""


class EmptyRecordError(GraphQuantError, RuntimeError):
    """A record holds no layers, usually because inference after the training was left out."""


class OutputNotFoundError(GraphQuantError, ValueError):
    """An output name matches no op of the graph."""


class ModelFileError(GraphQuantError, ValueError):
    """An input file is missing, unreadable or not of the expected format."""


class FileWriteError(GraphQuantError, OSError):
    """An output file can't be written."""


class BiasOverflowError(GraphQuantError, OverflowError):
    """A quantised bias doesn't fit into int32."""


class UncalibratedError(GraphQuantError, RuntimeError):
    """A layer has never seen data, so that it has no range to export."""


class MissingDependencyError(GraphQuantError, ImportError):
    """An optional package that this feature needs is not installed."""
