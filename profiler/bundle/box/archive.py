"""The zip from inside: its manifest, its artifacts, its wheels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.bundle.box.manifest import Candidate, Manifest
from profiler.errors import InvalidFile

if TYPE_CHECKING:
    from profiler.artifact import Artifact  # importing it needs NumPy, which may have to come out of the zip

MANIFEST = "manifest.json"
WHEELS = "wheels/"


def own_path() -> Path:
    """The zip that this module was imported from."""
    return Path(__file__).resolve().parents[3]


class Archive:
    """Raises `InvalidFile` here and in all calls for a zip that is damaged, or none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(str(path))
        except (OSError, zipfile.BadZipFile):
            raise InvalidFile(f"{path}: not a bundle, or a part of one; copy the file again") from None
        self.manifest = Manifest.from_bytes(self.read(MANIFEST), f"{path}, {MANIFEST}")

    @property
    def wheels(self) -> Sequence[str]:
        """Names of the wheels' files in the zip."""
        return [name for name in self._zip.namelist() if name.startswith(WHEELS) and name.endswith(".whl")]

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise InvalidFile(f"{self.path}: {name} is missing or damaged ({error}); copy the file again") from None

    def artifact(self, candidate: Candidate) -> Artifact:
        """The kernel of a candidate, its digest having been compared with the manifest's."""
        from profiler.artifact import Artifact

        artifact = Artifact.from_bytes(self.read(candidate.path), f"{self.path}, {candidate.path}")
        if artifact.sha256 != candidate.sha256:
            raise InvalidFile(
                f"{self.path}: {candidate.path} is another kernel than the manifest says; bundle it again"
            )
        return artifact
