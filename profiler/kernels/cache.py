"""Artifacts on disk, found again by what they were made of (`Backend.key`)."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profiler.artifact import Artifact
from profiler.errors import InvalidFile, OutputError
from profiler.workload import KernelSpec

_KEY_DIGITS = 16
SUFFIX = ".lbk"


@dataclass(frozen=True)
class ArtifactCache:
    """A folder of artifacts, ``<spec key>/<first digits of the key>.lbk``.

    Several runs of a machine may use it at a time.
    """

    folder: Path

    def path(self, spec: KernelSpec, key: str) -> Path:
        return self.folder / spec.key / f"{key[:_KEY_DIGITS]}{SUFFIX}"

    def get(self, spec: KernelSpec, key: str) -> Artifact | None:
        """The artifact; None if it is not there or damaged: it is then built again, and `put` replaces the file."""
        path = self.path(spec, key)
        try:
            artifact = Artifact.from_bytes(path.read_bytes(), path)
        except (OSError, InvalidFile):
            return None
        return artifact if artifact.spec == spec else None

    def remove_leftovers(self) -> None:
        """Remove what `put` left in runs that were killed, for whoever is about to write."""
        for temporary in self.folder.glob(f"*/.*{SUFFIX}.*.tmp"):
            owner = temporary.name.split(".")[-2]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                with suppress(OSError):
                    temporary.unlink()

    def put(self, key: str, artifact: Artifact) -> None:
        """Write all of it or nothing. Raises `OutputError` if the folder cannot be written."""
        path = self.path(artifact.spec, key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as file:
                    file.write(artifact.to_bytes())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputError(f"{path}: cannot be written: {reason}; make room or choose another folder") from None
