"""The files of TLS, tried ahead of their use: Dask does not say which of them is of no use, or waits for its limit."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from profiler.errors import ProfilerError


@dataclass(frozen=True)
class TlsFile:
    """``option`` is what it was named with: of the command line, or of Dask's configuration."""

    option: str
    path: str

    @property
    def text(self) -> str:
        return f"{self.option} {self.path}"


def require_usable(ca: TlsFile, certificate: TlsFile, key: TlsFile) -> None:
    """Raises `ProfilerError` that names the file: one that cannot be read, that holds no certificate or key in PEM, a
    key that is encrypted or of another certificate, and a certificate that the authority ``ca`` does not vouch for now.
    """
    for file in (ca, certificate, key):
        try:
            with open(file.path, "rb") as opened:
                opened.read(1)
        except OSError as error:
            raise ProfilerError(f"{file.text}: cannot be read: {error.strerror}") from None
    member, authority = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    member.check_hostname, member.verify_mode = False, ssl.CERT_NONE
    authority.verify_mode = ssl.CERT_REQUIRED
    with _refused(f"{certificate.text}: holds no certificate in PEM"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate.path)
    with _refused(f"{ca.text}: holds no certificate in PEM"):
        authority.load_verify_locations(ca.path)
    for context in (member, authority):
        _load(context, certificate, key)
    refusal = _handshake(member, authority)
    if refusal:
        raise ProfilerError(f"{certificate.text}: is refused by {ca.text}: {refusal}")


def _load(context: ssl.SSLContext, certificate: TlsFile, key: TlsFile) -> None:
    asked = []

    def passphrase() -> str:
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate.path, key.path, passphrase)
    except ssl.SSLError as error:
        if asked:
            why = "is encrypted, and Dask asks for no passphrase: give it without (openssl pkey -in OLD -out NEW)"
        elif error.reason == "KEY_VALUES_MISMATCH":
            why = f"is not the key of {certificate.text}"
        else:
            why = "holds no private key in PEM"
        raise ProfilerError(f"{key.text}: {why}") from None


@contextmanager
def _refused(text: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError:
        raise ProfilerError(text) from None


def _handshake(member: ssl.SSLContext, authority: ssl.SSLContext) -> str:
    """Why one who trusts the authority alone refuses the member; empty if it does not."""
    to_member, to_authority = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        authority.wrap_bio(to_authority, to_member, server_side=True),
        member.wrap_bio(to_member, to_authority),
    ]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
            ends.remove(end)
    return ""
