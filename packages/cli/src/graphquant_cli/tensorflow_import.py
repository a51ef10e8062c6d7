"""How TensorFlow starts when a command needs it; what the user's environment says counts."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def prepare_import() -> None:
    """Keeps what TensorFlow writes at its import off the terminal, and lets it run NCHW models.

    TensorFlow's CPU has convolutions and pooling in NCHW in oneDNN alone, which it leaves off on
    processors without certain instructions (TensorFlow 2.16 to 2.21: those of AVX-512).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _PreparedImport())


def compute_alike_everywhere() -> None:
    """Gives the same results on every processor, without oneDNN.

    Not for a user's model: without oneDNN the CPU has no convolution or pooling in NCHW.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


class _PreparedImport(MetaPathFinder):
    """Imports TensorFlow itself, without its notice of oneDNN, which no log level holds back."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
                with _held_back_stderr():
                    execute(module)

            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """What libraries write to the file descriptor is shown only when there is an error."""
    try:
        shown = os.dup(2)
    except OSError:  # the process has none
        yield
        return
    with os.fdopen(shown, "wb") as stderr, tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            stderr.write(held.read())
            raise
        finally:
            os.dup2(shown, 2)
