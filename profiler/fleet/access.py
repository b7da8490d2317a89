"""How the scheduler is reached: encrypted and authenticated, unless the user says aloud that it shall not be.

Dask pickles functions and results, and who unpickles runs whatever the sender wants. With TLS only holders of a
certificate of the fleet's own authority can send; without it everybody can who reaches the port.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.errors import ProfilerError

WARNING = (
    "--insecure: Dask unpickles what it receives, so anyone who reaches the scheduler's or a worker's port runs code "
    "there, and here"
)


@dataclass(frozen=True)
class Access:
    """``address`` as ``tls://host:8786``. The three files are PEM; without them Dask's own configuration is asked.

    Raises `ProfilerError` for what is no such address, for ``tcp://`` that is not said to be ``insecure``, and for
    files that are not there.
    """

    address: str
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        scheme, separator, rest = self.address.partition("://")
        host, _, port = rest.rpartition(":")
        known = separator and scheme in ("tls", "tcp") and host and port.isdecimal() and port.isascii()
        if not known or not 0 < int(port) < 65536:
            raise ProfilerError(f"scheduler '{self.address}': give its address as tls://host:8786")
        named = {"--tls-ca-file": self.ca_file, "--tls-cert": self.certificate, "--tls-key": self.key}
        files = {option: file for option, file in named.items() if file is not None}
        if scheme == "tcp":
            if not self.insecure:
                raise ProfilerError(
                    f"{self.address} is neither encrypted nor authenticated, and Dask unpickles what it receives: "
                    "anyone who reaches the port runs code; use tls:// (docs/fleet.md says how) or say --insecure"
                )
            if files:
                raise ProfilerError(f"{next(iter(files))} is for tls://, and the scheduler is {self.address}")
            return
        if self.insecure:
            raise ProfilerError(f"--insecure is for tcp://, and the scheduler is {self.address}; leave it out")
        if files and len(files) < len(named):
            missing = ", ".join(option for option in named if option not in files)
            raise ProfilerError(f"TLS takes three files, and {missing} is missing")
        for option, file in files.items():
            if not file.is_file():
                raise ProfilerError(f"{option} {file}: there is no such file")

    @property
    def encrypted(self) -> bool:
        return self.address.startswith("tls://")
