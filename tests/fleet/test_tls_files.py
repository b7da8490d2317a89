"""Each defect of a TLS file is told with its name; the files are made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from profiler.errors import ProfilerError
from profiler.fleet.tls_files import TlsFile, require_usable

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities with a member each, an encrypted key, and a certificate that has expired."""
    made = tmp_path_factory.mktemp("tls")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ours", "others"):
        openssl(made, "req", "-x509", *curve, "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem")  # fmt: skip
        openssl(made, "req", *curve, "-subj", "/CN=member", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(made, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key",
                "-CAcreateserial", "-days", "2", "-out", f"{name}.pem")  # fmt: skip
    openssl(made, "pkey", "-in", "ours.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    with suppress(subprocess.CalledProcessError):  # some releases make none that has expired
        openssl(made, "x509", "-req", "-in", "ours.csr", "-CA", "ours-ca.pem", "-CAkey", "ours-ca.key",
                "-CAcreateserial", "-days", "-1", "-out", "expired.pem")  # fmt: skip
    (made / "text").write_text("no PEM\n")
    return made


def refusal(folder: Path, ca: str = "ours-ca.pem", certificate: str = "ours.pem", key: str = "ours.key") -> str:
    names = {"--tls-ca-file": ca, "--tls-cert": certificate, "--tls-key": key}
    try:
        require_usable(*(TlsFile(option, str(folder / name)) for option, name in names.items()))
    except ProfilerError as error:
        return str(error).replace(f"{folder}/", "")
    return ""


def test_what_belongs_together(folder: Path) -> None:
    assert refusal(folder) == ""
    assert refusal(folder, "others-ca.pem", "others.pem", "others.key") == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ca": "gone"}, "--tls-ca-file gone: cannot be read: No such file or directory"),
        ({"certificate": "."}, "--tls-cert .: cannot be read: Is a directory"),
        ({"ca": "text"}, "--tls-ca-file text: holds no certificate in PEM"),
        ({"certificate": "text"}, "--tls-cert text: holds no certificate in PEM"),
        ({"certificate": "ours.key"}, "--tls-cert ours.key: holds no certificate in PEM"),
        ({"key": "text"}, "--tls-key text: holds no private key in PEM"),
        ({"key": "ours.pem"}, "--tls-key ours.pem: holds no private key in PEM"),
        ({"key": "others.key"}, "--tls-key others.key: is not the key of --tls-cert ours.pem"),
        ({"key": "locked.key"}, "--tls-key locked.key: is encrypted, and Dask asks for no passphrase: give it without"),
        ({"ca": "others-ca.pem"}, "--tls-cert ours.pem: is refused by --tls-ca-file others-ca.pem: "),
        ({"certificate": "expired.pem"}, "--tls-cert expired.pem: is refused by --tls-ca-file ours-ca.pem: cert"),
    ],
)
def test_the_file_is_named(folder: Path, changes: dict[str, str], said: str) -> None:
    if changes.get("certificate") == "expired.pem" and not (folder / "expired.pem").exists():
        pytest.skip("this openssl makes no certificate that has expired")
    found = refusal(folder, **changes)
    assert found.replace(str(folder), ".").startswith(said)
    assert "\n" not in found


def test_a_file_that_must_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert refusal(folder) == "--tls-ca-file ours-ca.pem: cannot be read: Permission denied"
