"""`load_samples`: arrays for the placeholders of a model."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphquant_core.exceptions import ConfigError, FileWriteError, ModelFileError
from graphquant_export.inputs import load_samples

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_one_array_is_for_the_only_input(tmp_path: Path) -> None:
    """A .npy, or a .npz with one array under any name, feeds a model with one placeholder."""
    np.save(tmp_path / "x.npy", VALUES)
    np.savez(tmp_path / "x.npz", data=VALUES)
    for name in ("x.npy", "x.npz"):
        found = load_samples(tmp_path / name, ["image"])
        assert list(found) == ["image"]
        np.testing.assert_array_equal(found["image"], VALUES)


def test_an_array_can_stay_in_its_file(tmp_path: Path) -> None:
    """A .npy is mapped when it is asked for; a file that is cut off is refused as ever."""
    np.save(tmp_path / "x.npy", VALUES)
    found = load_samples(tmp_path / "x.npy", ["image"], mapped=True)["image"]
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, VALUES)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    with pytest.raises(ModelFileError, match="holds no arrays"):
        load_samples(tmp_path / "cut.npy", ["image"], mapped=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_the_arrays_of_a_npz_can_stay_in_files(tmp_path: Path, save: Any) -> None:
    """Mapped, in place or from a file without a name; small ones are read, damage is told."""
    random = np.random.default_rng(0)
    given = {
        "left": random.normal(size=(700, 31)).astype(np.float32),
        "right": np.asfortranarray(random.integers(0, 9, (300, 300))),
        "rate": np.float32(0.5),
        "empty": np.zeros((0, 3)),
    }
    save(tmp_path / "x.npz", **given)
    found = load_samples(tmp_path / "x.npz", list(given), mapped=True)
    assert list(found) == list(given)
    for name, array in given.items():
        assert isinstance(found[name], np.memmap) == (name in ("left", "right"))
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[20_000] ^= 1
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"bad\.npz"):
        load_samples(tmp_path / "bad.npz", list(given), mapped=True)


def test_objects_in_a_mapped_npz_are_not_unpickled(tmp_path: Path) -> None:
    """Of any size."""
    np.savez(tmp_path / "x.npz", x=np.array([{}] * 20_000, object), allow_pickle=True)
    with pytest.raises(ModelFileError, match="holds no arrays"):
        load_samples(tmp_path / "x.npz", ["x"], mapped=True)


def test_a_full_temporary_folder_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the folder and how to choose another; a file may have 4 kB there."""
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((100_000,), np.float32))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(FileWriteError, match=r"TMPDIR sets another\): File too large"):
            load_samples(tmp_path / "x.npz", ["x"], mapped=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_arrays_go_by_name(tmp_path: Path) -> None:
    """A .npz holds an array under the name of each placeholder, with or without ":0"."""
    np.savez(tmp_path / "x.npz", **{"scope/left": VALUES, "right:0": 2 * VALUES})
    found = load_samples(tmp_path / "x.npz", ["scope/left", "right"])
    np.testing.assert_array_equal(found["scope/left"], VALUES)
    np.testing.assert_array_equal(found["right"], 2 * VALUES)


def test_a_wrong_name_is_answered_with_the_closest(tmp_path: Path) -> None:
    """An array for no placeholder is an error, not left out."""
    np.savez(tmp_path / "x.npz", left=VALUES, rihgt=VALUES)
    with pytest.raises(ConfigError, match='did you mean "right"'):
        load_samples(tmp_path / "x.npz", ["left", "right"])


def test_one_array_is_not_enough_for_two_inputs(tmp_path: Path) -> None:
    """A .npy does not say which of two placeholders it is for."""
    np.save(tmp_path / "x.npy", VALUES)
    with pytest.raises(ConfigError, match='"left", "right"'):
        load_samples(tmp_path / "x.npy", ["left", "right"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04noise", b"text", b"\x93NUMPY\x01\x00"])
def test_a_file_without_arrays_is_refused(tmp_path: Path, content: bytes) -> None:
    """Noise and truncated files are a ModelFileError that names the path."""
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"calibration \(.*x\.npz\)"):
        load_samples(path, ["x"])


def test_text_is_no_array(tmp_path: Path) -> None:
    """NumPy would take it for pickled objects, and say how to load them."""
    (tmp_path / "x.csv").write_text("0.1,0.2\n")
    with pytest.raises(ModelFileError, match=r"is neither a \.npy nor a \.npz file$"):
        load_samples(tmp_path / "x.csv", ["x"])


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    """A file of Python objects, which could run code, is refused."""
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ModelFileError):
        load_samples(tmp_path / "x.npy", ["x"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The system's reason is given."""
    with pytest.raises(ModelFileError, match="No such file"):
        load_samples(tmp_path / "x.npy", ["x"])
