"""Whole files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import FileWriteError, ModelFileError
from graphquant_core.files import check_writable, read_bytes, write_together, write_whole


@given(data=st.one_of(st.binary(), st.text()))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: bytes | str
) -> None:
    """read_bytes(write_whole(data)) = data, byte by byte, text as UTF-8, in a new folder."""
    path = tmp_path_factory.mktemp("files") / "new" / "folder" / "file"
    write_whole(path, data)
    assert read_bytes(path, "record_file") == (data.encode() if isinstance(data, str) else data)
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, interruption: BaseException
) -> None:
    """Whenever a write breaks off, the old content stays and nothing else is left behind."""
    path = tmp_path / "record.txt"
    write_whole(path, "old")

    def interrupt(*_: object) -> NoReturn:
        raise interruption

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises((KeyboardInterrupt, FileWriteError)) as caught:
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.txt"]
    if isinstance(interruption, OSError):
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith("No space left on device")


@pytest.mark.parametrize("fails_at", [1, 2])
def test_files_are_written_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """When one of two files can't be written, both old ones stay; otherwise both are new."""
    paths = [tmp_path / "a", tmp_path / "b"]
    write_together([(path, "old") for path in paths])
    calls = []
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileWriteError, match=f"{paths[fails_at - 1]}.*No space left"):
        write_together([(path, "new") for path in paths])
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    write_together([(path, "new") for path in paths])
    assert [path.read_text() for path in paths] == ["new", "new"]


def test_a_write_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    """The new file has the mode of the old one, and a symbolic link still points to it."""
    path, link = tmp_path / "file", tmp_path / "link"
    write_whole(path, "old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_special_files_are_not_replaced(tmp_path: Path) -> None:
    """A directory and a pipe are refused and stay what they are."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [(tmp_path, "it is a directory"), (pipe, "it is not a regular file")]:
        with pytest.raises(FileWriteError, match=reason):
            write_whole(path, "x")
        with pytest.raises(FileWriteError, match=reason):
            check_writable(path, "save_path")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_unreadable_files_name_the_argument(tmp_path: Path) -> None:
    """A missing file, a directory, an impossible path: ModelFileError names argument and path."""
    with pytest.raises(ModelFileError, match=r"pb_model \(.*missing.pb\).*No such file"):
        read_bytes(tmp_path / "missing.pb", "pb_model")
    with pytest.raises(ModelFileError, match=r"pb_model .*Is a directory"):
        read_bytes(tmp_path, "pb_model")
    with pytest.raises(ModelFileError, match=r"^pb_model \(dict\) must be a path$"):
        read_bytes({"a whole": "graph"}, "pb_model")  # type: ignore[arg-type]
    for path in ("a\0b", None, 0):
        with pytest.raises(ModelFileError, match="pb_model"):
            read_bytes(path, "pb_model")  # type: ignore[arg-type]


def test_devices_and_files_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    """What has no end or too many bytes is refused before it is read."""
    with pytest.raises(ModelFileError, match=r"pb_model .*it is a device"):
        read_bytes("/dev/zero", "pb_model")
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", "pb_model", 5) == b"12345"
    with pytest.raises(ModelFileError, match="it has 5 bytes, 4 are allowed"):
        read_bytes(tmp_path / "file", "pb_model", 4)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "the path is empty"),
        ("folder/", "ends in a slash"),
        ("n" * 242, "its name has 242 bytes, 241 are allowed"),
        ("é" * 121, "its name has 242 bytes, 241 are allowed"),
        ("file/below", "is not a directory"),
        ("a\0b", "null"),
        ("deep/" * 2000 + "file", "File name too long"),
        (None, "must be a path"),
        (3, "must be a path"),
    ],
)
def test_paths_that_cannot_be_written_are_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    """check_writable says what is wrong and with which argument, and changes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileWriteError, match=reason) as caught:
        check_writable(path, "save_path")
    assert str(caught.value).startswith("save_path (")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_without_permission_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest folder that exists must be writable."""
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder) != tmp_path)
    with pytest.raises(FileWriteError, match=f'directory "{tmp_path}" is not writable'):
        check_writable(tmp_path / "new" / "file", "save_path")


@pytest.mark.parametrize("path", ["file", "new/folder/file", "n" * 241])
def test_paths_that_can_be_written_pass_and_stay_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """check_writable accepts what write_whole can write, and creates nothing."""
    monkeypatch.chdir(tmp_path)
    check_writable(path, "save_path")
    assert os.listdir(tmp_path) == []
    write_whole(path, "x")
    check_writable(path, "save_path")
