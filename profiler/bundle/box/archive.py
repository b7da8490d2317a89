"""The zip from inside: its manifest, its artifacts, its networks, its wheels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.bundle.box.manifest import Candidate, Configuration, Manifest, artifact_path
from profiler.bundle.box.packed import LoadedNetwork, PackedNetwork, bytes_path, description_path, digest
from profiler.errors import InvalidFile
from profiler.record import escaped

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
        return self._artifact(candidate.sha256)

    def description(self, configuration: Configuration) -> PackedNetwork:
        """How a network runs and what must come out."""
        name = description_path(configuration.description)
        data = self._named(name, configuration.description)
        try:
            network = PackedNetwork.from_bytes(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidFile(f"{self.path}: {name} is not a network: {escaped(str(error))}; bundle it again") from None
        kernels = configuration.artifacts
        if [step.kernel for step in network.plan.steps] != [kernels.index(sha256) for sha256 in configuration.steps]:
            raise InvalidFile(f"{self.path}: {name} has other steps than the manifest says; bundle it again")
        return network

    def network(self, configuration: Configuration) -> LoadedNetwork:
        """All of a network, every digest having been compared with the manifest's."""
        packed = self.description(configuration)
        loaded = LoadedNetwork(
            packed=packed,
            artifacts=tuple(map(self._artifact, configuration.artifacts)),
            parameters=self._named(bytes_path(configuration.parameters), configuration.parameters),
            inputs=self._named(bytes_path(configuration.inputs), configuration.inputs),
        )
        fault = loaded.fault
        if fault:
            raise InvalidFile(f"{self.path}: network '{configuration.name}': {fault}; bundle it again")
        return loaded

    def _artifact(self, sha256: str) -> Artifact:
        from profiler.artifact import Artifact

        path = artifact_path(sha256)
        artifact = Artifact.from_bytes(self.read(path), f"{self.path}, {path}")
        if artifact.sha256 != sha256:
            raise InvalidFile(f"{self.path}: {path} is another kernel than the manifest says; bundle it again")
        return artifact

    def _named(self, name: str, sha256: str) -> bytes:
        data = self.read(name)
        if digest(data) != sha256:
            raise InvalidFile(f"{self.path}: {name} is another one than the manifest says; bundle it again")
        return data
