"""The images that accuracy is counted on: an .npz file, or a folder of them that is read one by one.

A data set of images by class needs decoding and the model's own preprocessing, which only the user knows: they are
saved once, in files of so many images that two of them fit into memory; see docs/accuracy.md.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.frontend.refusal import quoted
from profiler.network.images import LABELS, Images, load_images
from profiler.workload import Network

_HINT = "save some with numpy.savez, by input name, and the class of each image as 'labels' (docs/accuracy.md)"


def labelled_files(path: Path) -> tuple[Path, ...]:
    """The file, or those of the folder in the order of their names.

    Raises `InvalidFile` for a folder without such files, and, before anything is read, for a file that is no .npz or
    has no labels, naming it.
    """
    if not path.exists():
        raise InvalidFile(f"{path}: there is no such file or folder of images; {_HINT}")
    files: tuple[Path, ...] = (path,)
    if path.is_dir():
        files = tuple(sorted(file for file in path.glob("*.npz") if not file.name.startswith(".")))
        if not files:
            raise InvalidFile(f"{path}: this folder holds no .npz file; {_HINT}")
    for file in files:
        _require_labels(file)
    return files


def labelled_images(files: tuple[Path, ...], network: Network, most: int | None = None) -> Iterator[Images]:
    """The images of each file, one file in memory at a time; no more than ``most`` in all. Errors as those of
    `load_images`."""
    left = most
    for file in files:
        if left == 0:
            return
        images = load_images(file, network)
        if images.labels is None:  # an input of the network bears that name
            raise InvalidFile(f"{file}: {quoted(LABELS)} is an input of network {quoted(network.name)}: rename it")
        if left is not None:
            images = images.first(left)
            left -= images.count
        yield images


def _require_labels(file: Path) -> None:
    """Of the archive's directory alone."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except OSError as error:
        raise InvalidFile(f"{file}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError):
        raise InvalidFile(f"{file}: is not an .npz file; {_HINT}") from None
    if f"{LABELS}.npy" not in names:
        raise InvalidFile(f"{file}: holds no {quoted(LABELS)}: the class of each image, an integer from 0 on")
