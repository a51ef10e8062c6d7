"""`load_samples`: arrays for the placeholders of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphquant_core.exceptions import ConfigError, ModelFileError
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
