"""Encrypted unless the user says otherwise, aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.errors import ProfilerError
from profiler.fleet.access import Access


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = tuple(tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for file in made:
        file.write_text("")
    return made  # type: ignore[return-value]


def test_what_is_fine(files: tuple[Path, Path, Path]) -> None:
    assert Access("tls://host:8786", *files).encrypted
    assert Access("tls://host:8786").encrypted, "Dask's own configuration may have the files"
    assert Access("tls://[::1]:8786").encrypted
    assert not Access("tcp://10.0.0.1:8786", insecure=True).encrypted


@pytest.mark.parametrize(
    "address",
    [
        "host:8786",
        "tls://host",
        "host",
        "",
        "ucx://host:8786",
        "tls://host:port",
        "tls://:8786",
        "tls://host:0",
        "tls://host:99999",
    ],
)
def test_no_address(address: str) -> None:
    with pytest.raises(ProfilerError, match="give its address as tls://host:8786"):
        Access(address)


def test_plain_tcp_must_be_said_aloud() -> None:
    with pytest.raises(ProfilerError, match=r"Dask unpickles what it receives.*runs code.*--insecure"):
        Access("tcp://host:8786")


def test_insecure_is_for_tcp() -> None:
    with pytest.raises(ProfilerError, match="--insecure is for tcp://"):
        Access("tls://host:8786", insecure=True)


def test_three_files_or_none(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(ProfilerError, match="--tls-key is missing"):
        Access("tls://host:8786", files[0], files[1])
    with pytest.raises(ProfilerError, match=r"--tls-key .*gone.*no such file"):
        Access("tls://host:8786", files[0], files[1], files[2].with_name("gone"))
    with pytest.raises(ProfilerError, match="--tls-ca-file is for tls://"):
        Access("tcp://host:8786", *files, insecure=True)
