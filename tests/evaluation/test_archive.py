"""A file of arrays is read back bit by bit, or refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.evaluation import archive


class Refused(GradcheckInputError):
    pass


KIND = archive.Kind("some-format-1", "recipe", Refused, "cook without it")
HEADER = {"seed": 3}
ARRAYS = {"values": np.array([1.0, np.nan, -0.0]), "done": np.array([224], np.uint8)}


def bits(arrays: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    return {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}


def whole(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return archive.read(path, KIND, lambda header, arrays: (header, dict(arrays)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    archive.write(tmp_path / "run.npz", KIND, HEADER, ARRAYS)
    return tmp_path / "run.npz"


def test_what_was_written_is_read(path: Path) -> None:
    header, arrays = whole(path)
    assert header == HEADER
    assert bits(arrays) == bits(ARRAYS)
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]


def test_one_wrong_bit_anywhere_changes_nothing_or_is_refused(path: Path) -> None:
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            header, arrays = whole(path)
        except Refused:
            refused += 1
            continue
        assert header == HEADER, place
        assert bits(arrays) == bits(ARRAYS), place
    # What is left are dates and the like, of which a ZIP file has many.
    assert refused > 0.6 * len(content)


def forge(path: Path, save: Any = np.savez, **changes: Any) -> None:
    """The same file with other arrays, and the checksum of the old ones."""
    with np.load(path) as file:
        before = {name: file[name] for name in file.files}
    with path.open("wb") as raw:
        save(raw, **{name: array for name, array in (before | changes).items() if len(array)})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"values": np.array([1.0, 2.0, -0.0])}, "its checksum is another"),
        ({"values": ARRAYS["values"].astype(np.float32)}, "its checksum is another"),
        ({"more": np.zeros(1)}, "its checksum is another"),
        ({"done": ()}, "its checksum is another"),
        ({"checksum": ()}, "its checksum is another"),
        ({"values": np.array([{}])}, "its content cannot be read"),
        ({"header": np.frombuffer(b'{"format": "other-2"}', np.uint8)}, "its format is 'other-2'"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_what_was_not_written_so_is_refused(
    changes: dict[str, Any], reason: str, path: Path
) -> None:
    forge(path, **changes)
    with pytest.raises(Refused, match=reason):
        whole(path)


@pytest.mark.parametrize("content", [b"", b"my thesis", pickle.dumps([1]), b"PK", b"\x93NUMPY"])
def test_junk_is_refused_in_our_words(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(Refused) as refused:
        whole(path)
    reason = "its content cannot be read" if content == b"PK" else "it is no archive of arrays"
    assert str(refused.value) == (
        f"{path} is not a recipe of this package, or it is damaged ({reason}). It was left as it "
        "is: cook without it."
    )


def test_a_folder_is_refused_and_no_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"read \((Is a directory|Permission denied)\): name a"):
        whole(tmp_path)
    with pytest.raises(FileNotFoundError):
        whole(tmp_path / "none.npz")


def test_what_grows_when_it_is_read_is_refused(path: Path) -> None:
    forge(path, np.savez_compressed, values=np.zeros(10**6))
    with pytest.raises(Refused, match="it is compressed"):
        whole(path)


def test_half_files_of_killed_processes_are_removed_and_nothing_else(path: Path) -> None:
    for name in ("run.npz.0a1b2c3d.partial", "run.npzx.partial", "run.npz.txt", "other.1.partial"):
        (path.parent / name).touch()
    archive.remove_partial(path)
    left = sorted(p.name for p in path.parent.iterdir())
    assert left == ["other.1.partial", "run.npz", "run.npz.txt", "run.npzx.partial"]


def test_a_file_that_cannot_be_written_is_named_itself(tmp_path: Path) -> None:
    path = tmp_path / "none" / "run.npz"
    with pytest.raises(FileNotFoundError) as caught:
        archive.write(path, KIND, HEADER, {"values": np.zeros(3)})
    assert caught.value.filename == str(path)


def test_a_failure_leaves_what_was_there(path: Path) -> None:
    class Odd:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise OSError("no space")

    before = path.read_bytes()
    with pytest.raises(OSError, match="no space"):
        archive.write(path, KIND, HEADER, {"values": Odd()})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]
