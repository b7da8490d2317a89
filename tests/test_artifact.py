"""Artifacts: bytes and back, and no bit may change unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.errors import InvalidFile
from profiler.quantize.packing import Packing
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

ARTIFACT = Artifact(
    spec=KernelSpec(
        Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3), DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU
    ),
    config="tile=4",
    threads=1,
    entry="kernel",
    arch="x86_64",
    features=("avx2", "avx512_vnni"),
    args=(
        ArgSpec("input", Role.INPUT, 256),
        ArgSpec("output", Role.OUTPUT, 144),
        ArgSpec("workspace", Role.WORKSPACE, 0),
    ),
    packing=Packing("dot", channel_block=16, lanes=16),
    check=Check(7, "ab" * 32),
    compiler="tvm 0.27.0",
    native=True,
    code=bytes(range(256)),
)
DATA = ARTIFACT.to_bytes()


@given(st.binary(max_size=300), st.text(max_size=10), st.booleans())
def test_bytes_and_back(code: bytes, config: str, native: bool) -> None:
    artifact = replace(ARTIFACT, code=code, config=config, native=native)
    again = Artifact.from_bytes(artifact.to_bytes())
    assert again == artifact
    assert again.sha256 == artifact.sha256
    assert isinstance(again.args[0].role, Role)


@settings(max_examples=200)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(place: int, change: int) -> None:
    damaged = DATA[:place] + bytes([DATA[place] ^ change]) + DATA[place + 1 :]
    if DATA[place] == ord(" ") and damaged[place] in b"\t\n\r":
        assert Artifact.from_bytes(damaged) == ARTIFACT  # white space of the JSON header means nothing
        return
    with pytest.raises(InvalidFile, match=r"^x\.artifact: "):
        Artifact.from_bytes(damaged, origin="x.artifact")


@given(st.integers(0, len(DATA) - 1))
def test_every_torn_file_is_noticed(length: int) -> None:
    with pytest.raises(InvalidFile):
        Artifact.from_bytes(DATA[:length])


def rewritten(change: object) -> bytes:
    length = int.from_bytes(DATA[4:12], "little")
    header = json.loads(DATA[12 : 12 + length])
    change(header)  # type: ignore[operator]
    text = json.dumps(header, sort_keys=True).encode()
    return DATA[:4] + len(text).to_bytes(8, "little") + text + DATA[12 + length :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(version=2), "version 2"),
        (lambda h: h.pop("spec"), "spec"),
        (lambda h: h["spec"].update(op="conv3d"), "conv3d"),
        (lambda h: h["spec"].update(batch=0), "batch"),
        (lambda h: h["args"][0].update(role="reader"), "reader"),
        (lambda h: h["args"][0].update(nbytes=-1), "negative"),
        (lambda h: h["packing"].update(kind="odd"), "odd"),
        (lambda h: h.update(check=None), "."),
        (lambda h: h.update(native=False), "digest"),
    ],
)
def test_a_header_that_does_not_fit_is_named(change: object, says: str) -> None:
    with pytest.raises(InvalidFile, match=rf"^x\.artifact: .*{says}"):
        Artifact.from_bytes(rewritten(change), origin="x.artifact")


@pytest.mark.parametrize(
    "other",
    [
        replace(ARTIFACT, code=b"other"),
        replace(ARTIFACT, threads=2),
        replace(ARTIFACT, check=Check(8, "ab" * 32)),
        replace(ARTIFACT, packing=replace(ARTIFACT.packing, activation_offset=128)),
        replace(ARTIFACT, args=ARTIFACT.args[::-1]),
        replace(ARTIFACT, features=()),
    ],
)
def test_the_digest_covers_everything_that_decides_on_a_launch(other: Artifact) -> None:
    assert other.sha256 != ARTIFACT.sha256
