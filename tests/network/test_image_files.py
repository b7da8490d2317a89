"""Folders of images: read in order, one file at a time, and refused before anything else is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.errors import InvalidFile
from profiler.network.image_files import labelled_files, labelled_images
from profiler.workload import Layer, Network, Op, Tensor, Workload

NETWORK = Network(
    "tiny",
    1,
    (Tensor("image", 2, 2, 1, True), Tensor("logits", 1, 1, 3, True)),
    (Layer("fc", Workload(Op.DENSE, 1, 1, 1, 4, 3), ("image",), "logits"),),
)


def save(path: Path, first: int, count: int, **more: Any) -> None:
    images = np.full((count, 1, 2, 2), 0.0, np.float32) + np.arange(first, first + count)[:, None, None, None]
    np.savez(path, **{"image": images.astype(np.float32), "labels": np.arange(count) % 3, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "b.npz", 4, 2)
    save(tmp_path / "a.npz", 0, 4)
    save(tmp_path / "c.npz", 6, 3)
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / ".a.npz.tmp.npz").write_text("half a file, not read")
    return tmp_path


def firsts(files: tuple[Path, ...], most: int | None = None) -> list[float]:
    """The first pixel of each image, in order."""
    return [float(x) for images in labelled_images(files, NETWORK, most) for x in images.inputs["image"][:, 0, 0, 0]]


def test_files_are_read_by_name(folder: Path) -> None:
    assert firsts(labelled_files(folder)) == list(range(9))


@pytest.mark.parametrize("most", [1, 4, 5, 9, 20])
def test_so_many_images_and_no_more(folder: Path, most: int) -> None:
    assert firsts(labelled_files(folder), most) == list(range(min(most, 9)))
    counts = [images.count for images in labelled_images(labelled_files(folder), NETWORK, most)]
    assert all(counts)


def test_one_file_in_memory_at_a_time(folder: Path) -> None:
    """A later file that is damaged is found when it is its turn."""
    files = labelled_files(folder)
    images = labelled_images(files, NETWORK)
    next(images)
    (folder / "b.npz").write_bytes(b"gone")
    with pytest.raises(InvalidFile, match=r"b\.npz: is not an \.npz file"):
        next(images)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"b\.npz"),
        (lambda path: path.write_bytes(b"PK but no archive"), r"b\.npz: is not an \.npz file"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), r"b\.npz: is not an \.npz file"),
        (lambda path: np.savez(path, image=np.zeros((1, 1, 2, 2))), r"b\.npz: holds no 'labels'"),
    ],
)
def test_a_bad_file_is_named_before_any_is_read(tmp_path: Path, spoil: Any, message: str) -> None:
    save(tmp_path / "a.npz", 0, 4)
    save(tmp_path / "b.npz", 0, 4)
    spoil(tmp_path / "b.npz")
    path = tmp_path if (tmp_path / "b.npz").exists() else tmp_path / "b.npz"
    with pytest.raises(InvalidFile, match=message) as caught:
        labelled_files(path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"holds no \.npz file"):
        labelled_files(tmp_path)
