"""Images of an .npz file: what is read, and what is said of files that do not fit."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.errors import InvalidFile
from profiler.network.images import Images, load_images, read_inputs
from profiler.workload import Layer, Network, Op, Tensor, Workload

Array = npt.NDArray[Any]


def network(*names: str) -> Network:
    """An image of 3x4x5 (C, H, W) to 10 classes; by other names: inputs of 6 features each, which are added."""
    if not names:
        tensors = (Tensor("image", 4, 5, 3, True), Tensor("logits", 1, 1, 10, True))
        return Network("tiny", 2, tensors, (Layer("fc", Workload(Op.DENSE, 2, 1, 1, 60, 10), ("image",), "logits"),))
    tensors = (*(Tensor(name, 1, 1, 6, True) for name in names), Tensor("sum", 1, 1, 6, True))
    return Network("two", 1, tensors, (Layer("add", Workload(Op.ADD, 1, 1, 1, 6, 6), names, "sum"),))


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return path


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def refused(path: Path, message: str, of: Network | None = None) -> None:
    with pytest.raises(InvalidFile) as caught:
        load_images(path, of or network())
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_become_nhwc(tmp_path: Path, dtype: type) -> None:
    x = floats(7, 3, 4, 5).astype(dtype)
    images = load_images(save(tmp_path, image=x), network())
    values = images.inputs["image"]
    assert images.count == 7
    assert images.labels is None
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    for n, c, h, w in np.ndindex(x.shape):
        assert values[n, h, w, c] == np.float32(x[n, c, h, w])


def test_batches_are_in_order_and_complete(tmp_path: Path) -> None:
    x = floats(7, 3, 4, 5)
    images = load_images(save(tmp_path, image=x), network())
    batches = [batch["image"] for batch in images.batches(3)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels(tmp_path: Path, dtype: type) -> None:
    images = load_images(save(tmp_path, image=floats(3, 3, 4, 5), labels=np.array([0, 9, 4], dtype)), network())
    assert images.labels is not None
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 9, 4]
    assert list(images.inputs) == ["image"]


def test_an_input_called_labels_is_an_input(tmp_path: Path) -> None:
    x = floats(2, 6)
    images = load_images(save(tmp_path, labels=x, other=x), network("labels", "other"))
    assert images.labels is None
    np.testing.assert_array_equal(images.inputs["labels"], x[:, None, None])


def test_several_inputs_of_features(tmp_path: Path) -> None:
    a, b = floats(2, 6), floats(2, 6, 1, 1)
    images = load_images(save(tmp_path, a=a, b=b), network("b", "a"))
    assert images.inputs["a"].shape == images.inputs["b"].shape == (2, 1, 1, 6)
    np.testing.assert_array_equal(images.inputs["a"][:, 0, 0], a)
    refused(save(tmp_path, a=a), "holds 'a', but the inputs of network 'two' are 'a', 'b'", network("a", "b"))
    refused(save(tmp_path, a=a, b=b[:1]), "different numbers of images: {'a': 2, 'b': 1}", network("a", "b"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no array, but the inputs of network 'tiny' are 'image'; save the arrays by these names"),
        ({"x": floats(1, 3, 4, 5)}, "holds 'x', but the inputs of network 'tiny' are 'image'"),
        ({"image": floats(1, 3, 4, 5), "y": floats(1)}, "holds 'image', 'y', but"),
        (
            {"image": floats(1, 4, 5, 3)},
            "input 'image' has shape (1, 4, 5, 3), but the network takes (images, 3, 4, 5)",
        ),
        ({"image": floats(3, 4, 5)}, "input 'image' has shape (3, 4, 5), but the network takes (images, 3, 4, 5)"),
        ({"image": np.float32(1)}, "input 'image' has shape (), but the network takes (images, 3, 4, 5)"),
        ({"image": np.zeros((1, 3, 4, 5), np.uint8)}, "input 'image' is uint8, but the network takes floats"),
        ({"image": np.zeros((1, 3, 4, 5), complex)}, "input 'image' is complex128, but the network takes floats"),
        ({"image": floats(0, 3, 4, 5)}, "input 'image' holds no image"),
        ({"image": np.full((1, 3, 4, 5), 1e39)}, "image 0 (the first is 0) is not finite, or beyond float32"),
        (
            {"image": floats(3, 3, 4, 5), "labels": np.array([0, 1])},
            "'labels' is int64 of shape (2,); it takes an integer for each of the 3 images",
        ),
        ({"image": floats(2, 3, 4, 5), "labels": np.array([0.0, 1])}, "'labels' is float64 of shape (2,)"),
        (
            {"image": floats(2, 3, 4, 5), "labels": np.array([0, 10])},
            "'labels' reach from 0 to 10, but the network tells 10 classes apart, from 0",
        ),
        ({"image": floats(2, 3, 4, 5), "labels": np.array([-1, 3])}, "'labels' reach from -1 to 3"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, arrays: dict[str, Array], message: str) -> None:
    refused(save(tmp_path, **arrays), message)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    x = floats(4, 3, 4, 5)
    x[2, 1, 0, 0] = bad
    refused(save(tmp_path, image=x), "input 'image': image 2 (the first is 0) is not finite")


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    refused(path, "cannot be read: No such file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "a zip file of something else")
    refused(path, "is not an .npz file of arrays by input name ('notes.txt' is none)")
    path.write_bytes(b"PK\x03\x04 torn")
    refused(path, "is not an .npz file of arrays by input name")
    whole = save(tmp_path, image=floats(2, 3, 4, 5)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "is not an .npz file of arrays by input name")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    refused(path, "is not an .npz file of arrays by input name")


def test_inputs_are_read_as_they_are(tmp_path: Path) -> None:
    path = save(tmp_path, x=np.arange(3), y=np.zeros((2, 2)))
    assert {name: array.dtype for name, array in read_inputs(path).items()} == {"x": np.int64, "y": np.float64}


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        ({}, None, "there is no input"),
        ({"x": np.zeros((2, 1, 1, 1))}, None, "float64"),
        ({"x": np.float32(0)}, None, "not float32 images"),
        ({"x": floats(2, 1, 1, 1), "y": floats(3, 1, 1, 1)}, None, "different numbers of images"),
        ({"x": floats(2, 1, 1, 1)}, np.zeros(3, np.int64), "not int64 of 2 images"),
        ({"x": floats(2, 1, 1, 1)}, np.zeros(2), "labels are float64"),
    ],
)
def test_images_check_themselves(inputs: dict[str, Array], labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Images(inputs, labels)


def test_a_header_that_claims_more_than_memory_holds(tmp_path: Path) -> None:
    """A file of a few hundred bytes; NumPy would ask for the memory first."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 3, 320, 320)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("image.npy", data.getvalue())
    with pytest.raises(InvalidFile, match=r"huge\.npz: its arrays do not fit into memory"):
        read_inputs(tmp_path / "huge.npz")


def test_a_device_is_no_file() -> None:
    with pytest.raises(InvalidFile, match="/dev/zero: is no file"):
        read_inputs(Path("/dev/zero"))


def test_nobody_is_told_to_trust_a_file(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no images")
    with pytest.raises(InvalidFile) as caught:
        read_inputs(tmp_path / "text.npz")
    assert "pickle" not in str(caught.value)
