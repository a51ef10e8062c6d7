"""Reading and writing whole files: a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from graphquant_core.exceptions import FileWriteError, ModelFileError
from graphquant_core.listing import brief_repr

MAX_NAME_BYTES = 241
"""Longest name of an output file; a suffix such as ``_quantized.pb`` must still fit into 255."""

MAX_FILE_BYTES = 2**31 - 1
"""Most bytes of an input file; protobuf and flatbuffers hold no more."""


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes `data` to `path` so that an interruption leaves the old file whole.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file
    is renamed over `path`. Text is written as UTF-8. A missing folder is created, a symbolic
    link is followed, and the permissions of an existing file are kept.

    Raises:
        FileWriteError: the file can't be written; names the path and the system's reason.
    """
    write_together([(path, data)])


def write_together(files: Iterable[tuple[str | os.PathLike[str], bytes | str]]) -> None:
    """Writes every (path, data) of `files` as `write_whole` does, all of them or none.

    No file is renamed before every one is on the disk: a full disk leaves the old files whole.

    Raises:
        FileWriteError: a file can't be written; names its path and the system's reason.
    """
    written: list[tuple[Path, Path, str]] = []
    try:
        for path, data in files:
            with _named(path):
                temporary, target = _prepare(path)
                written.append((temporary, target, os.fspath(path)))
                _write_synced(temporary, data.encode() if isinstance(data, str) else data)
                with contextlib.suppress(FileNotFoundError):
                    temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        for temporary, target, name in written:
            with _named(name):
                os.replace(temporary, target)
    finally:
        for temporary, _, _ in written:
            temporary.unlink(missing_ok=True)


def _prepare(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """A free name beside the file that `path` leads to, whose folder is made, and that file."""
    _refuse_special_file(path)
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent / f".graphquant-{secrets.token_hex(8)}.tmp", target


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the system refuses into a FileWriteError that names `path`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileWriteError(f'cannot write "{os.fspath(path)}": {_reason(error)}') from error


def read_bytes(path: str | os.PathLike[str], argument: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """Content of the file at `path`, which has at most `limit` bytes.

    Raises:
        ModelFileError: the file is missing, a directory, a device, too large or unreadable; names
            `argument`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ModelFileError(f"{argument} ({_shown(path)}) must be a path")
    try:
        with open(Path(path), "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode):
                raise OSError("it is a device")
            if status.st_size > limit:
                raise OSError(f"it has {status.st_size} bytes, {limit} are allowed")
            return file.read()
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{argument} ({path}) cannot be read: {_reason(error)}") from error


def _shown(value: object) -> str:
    """A graph that was given for its path may have megabytes of text: its type will do."""
    return repr(value) if isinstance(value, (int, float, type(None))) else type(value).__name__


def check_writable(path: str | os.PathLike[str], argument: str) -> None:
    """Refuses a `path` that `write_whole` could not write; changes nothing on the disk.

    Raises:
        FileWriteError: the path is empty, ends in a slash, is a directory or another special
            file, its name is longer than 241 bytes, or its folder can't be created or written;
            names `argument`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise FileWriteError(f"{argument} ({brief_repr(path)}) must be a path")
    text = os.fspath(path)
    try:
        reason = _refusal(text)
    except (OSError, ValueError) as error:
        reason = _reason(error)
    if reason:
        raise FileWriteError(f'{argument} ("{text}") cannot be written: {reason}')


def _refusal(text: str) -> str:
    """Why `text` can't be written, or ``''``."""
    if not text:
        return "the path is empty"
    if text.endswith(("/", os.sep)):
        return "the path ends in a slash and so names no file"
    target = Path(os.path.realpath(text))
    length = len(os.fsencode(Path(text).name))
    if length > MAX_NAME_BYTES:
        return f"its name has {length} bytes, {MAX_NAME_BYTES} are allowed"
    _refuse_special_file(text)
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f'"{folder}" is not a directory'
    if not os.access(folder, os.W_OK | os.X_OK):
        return f'the directory "{folder}" is not writable'
    return ""


def _refuse_special_file(path: str | os.PathLike[str]) -> None:
    """Raises OSError for a directory, and for a device or pipe that a rename would destroy."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError("it is a directory")
        if not stat.S_ISREG(mode):
            raise OSError("it is not a regular file")


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _reason(error: Exception) -> str:
    """The system's own words, without the path that the caller's message names already."""
    return getattr(error, "strerror", None) or str(error)
