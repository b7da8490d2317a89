"""The command line on a fleet that speaks TLS, with certificates of its own authority; and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.cli import main
from profiler.errors import ProfilerError
from profiler.fleet.access import Access
from profiler.fleet.link import Link
from profiler.frontend import network_file
from profiler.lut.store import read
from tests.e2e.command import DENSE, Outcome
from tests.fleet.cluster import Cluster

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.compile,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl"),
]


class Authority:
    """A certificate authority with one certificate, made by the commands of docs/fleet.md."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=fleet",
                      "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=member",
                      "-keyout", "member.key", "-out", "member.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", "member.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-out", "member.pem")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-ca-file", str(self.folder / "ca.pem"), "--tls-cert", str(self.folder / "member.pem"),
                "--tls-key", str(self.folder / "member.key"))  # fmt: skip

    def access(self, address: str) -> Access:
        return Access(address, *(self.folder / name for name in ("ca.pem", "member.pem", "member.key")))


class Client:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.out = folder / "out"
        self.model = folder / "dense.json"
        network_file.save(DENSE, self.model)

    def start(self, *options: str) -> subprocess.Popen[str]:
        arguments = ("profile", str(self.model), "--device", "cpu", "--precisions", "int8", "--trials", "1",
                     "--no-mixed", "--out", str(self.out), *options)  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "profiler", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.cluster.environment, start_new_session=True,
        )  # fmt: skip

    def run(self, *options: str) -> Outcome:
        process = self.start(*options)
        try:
            out, err = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Outcome(process.returncode, out, err)


def test_from_certificates_to_a_table(clusters: Callable[..., Cluster], tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    cluster = clusters(tls=ours.options)
    assert cluster.address.startswith("tls://")
    cluster.worker("one", "cpu=1,compile=1", nanny=True)
    client = Client(cluster, tmp_path)
    outcome = client.run("--scheduler", cluster.address, *ours.options, "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert (told["measured"], told["fleet"]["scheduler"], told["fleet"]["lost"]) == (1, cluster.address, 0)
    (card,) = told["fleet"]["cards"]
    (row,) = read(Path(card["lut_path"]))
    assert row.fingerprint == card["fingerprint"] == told["fingerprint"]
    assert "takes part: " in outcome.err
    assert "1 measuring; workloads: 0 done, 1 in flight, 0 waiting" in outcome.err
    assert "Traceback" not in outcome.err + cluster.log("one")

    begin = time.monotonic()
    with pytest.raises(ProfilerError, match="cannot be reached") as strangers:
        Link(others.access(cluster.address), connect_s=3)
    assert "\n" not in str(strangers.value)
    with pytest.raises(ProfilerError, match="cannot be reached"):
        Link(Access(cluster.address.replace("tls://", "tcp://"), insecure=True), connect_s=3)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://127.0.0.1:1"), ("Dask unpickles what it receives", "--insecure")),
        (("--insecure",), ("--insecure is for a fleet", "--scheduler tls://host:8786")),
        (("--scheduler", "tls://127.0.0.1:1"), ("takes --tls-ca-file, --tls-cert and --tls-key",)),
        (("--scheduler", "tls://127.0.0.1:1", "--device", "auto"), ("a fleet is asked for a model", "--device t4")),
        (("--scheduler", "tls://127.0.0.1:1", "--sustained"), ("--sustained is for GPUs",)),
        (("--no-complete",), ("--no-complete is for a fleet",)),
    ],
)
def test_what_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: tuple[str, ...],
) -> None:
    arguments = ["profiler", "profile", "resnet18", "--device", "cpu", "--out", str(tmp_path / "out"), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert isinstance(end.value.code, int)
    assert Outcome(end.value.code, out, err).refused(*said)
    assert not (tmp_path / "out").exists()


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ProfilerError, match=r"needs dask.distributed, which is not installed: make .*SCHEDULER="):
        Link(Access("tcp://127.0.0.1:1", insecure=True), connect_s=1)


def test_ctrl_c_ends_at_once(clusters: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = clusters()
    process = Client(cluster, tmp_path).start("--scheduler", cluster.address, "--insecure")
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("--insecure: Dask unpickles what it receives")
    assert process.stderr.readline().startswith("dense, batch 1")
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - begin < 10
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        "interrupted; what was measured or built is kept, the same command goes on from there"
    )
    assert "Traceback" not in err
