"""Artifacts: bytes and back, and no bit may change unnoticed."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.artifact import ArgSpec, Artifact, Check, Launch, Resources, Role
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
RESOURCES = Resources(
    registers=130,
    stack_bytes=16,
    spill_bytes=8,
    shared_bytes=24576,
    threads=256,
    blocks_per_sm=1,
    occupancy=0.25,
    instructions={"IMMA.8832.U4.S4": 128, "LDSM": 24, "IMAD": 900},
    main_loop={"IMMA.8832.U4.S4": 128, "LDSM": 12},
    cubin_abi=7,
    least_driver="525.60.13",
)
GPU_ARTIFACT = replace(
    ARTIFACT, arch="sm_75", features=(), launch=Launch((98, 1, 1), 256, 16384), resources=RESOURCES, code=bytes(64)
)
ARTIFACTS = {"cpu": ARTIFACT, "gpu": GPU_ARTIFACT}
DATA = {name: artifact.to_bytes() for name, artifact in ARTIFACTS.items()}
PLACES = st.sampled_from(list(DATA)).flatmap(lambda name: st.tuples(st.just(name), st.integers(0, len(DATA[name]) - 1)))
COUNTS = st.dictionaries(st.sampled_from(["IMMA.8816.S8.S8", "LDG.128", "BAR"]), st.integers(1, 5000), max_size=3)


@given(st.binary(max_size=300), st.text(max_size=10), st.booleans())
def test_bytes_and_back(code: bytes, config: str, native: bool) -> None:
    artifact = replace(ARTIFACT, code=code, config=config, native=native)
    again = Artifact.from_bytes(artifact.to_bytes())
    assert again == artifact
    assert again.sha256 == artifact.sha256
    assert isinstance(again.args[0].role, Role)


@given(st.tuples(*[st.integers(1, 2**31 - 1)] * 3), st.integers(1, 1024), st.integers(1, 255), COUNTS)
def test_a_gpu_artifact_and_back(grid: tuple[int, int, int], threads: int, registers: int, counts: dict) -> None:
    resources = replace(RESOURCES, threads=threads, registers=registers, instructions=counts, main_loop=counts)
    artifact = replace(GPU_ARTIFACT, launch=Launch(grid, threads, 0), resources=resources)
    again = Artifact.from_bytes(artifact.to_bytes())
    assert again == artifact
    assert again.launch is not None
    assert again.launch.grid == grid
    assert hash(again) == hash(artifact)
    assert pickle.loads(pickle.dumps(artifact)) == artifact


@settings(max_examples=400)
@given(PLACES, st.integers(1, 255))
def test_every_changed_byte_is_noticed(where: tuple[str, int], change: int) -> None:
    name, place = where
    data = DATA[name]
    damaged = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
    if data[place] == ord(" ") and damaged[place] in b"\t\n\r":
        assert Artifact.from_bytes(damaged) == ARTIFACTS[name]  # white space of the JSON header means nothing
        return
    with pytest.raises(InvalidFile, match=r"^x\.artifact: ") as caught:
        Artifact.from_bytes(damaged, origin="x.artifact")
    assert "\n" not in str(caught.value)


@given(PLACES)
def test_every_torn_file_is_noticed(where: tuple[str, int]) -> None:
    with pytest.raises(InvalidFile):
        Artifact.from_bytes(DATA[where[0]][: where[1]])


def test_a_header_that_nests_without_end_is_refused() -> None:
    header = b"[" * 100_000
    with pytest.raises(InvalidFile, match=r"^x\.artifact: "):
        Artifact.from_bytes(b"LBPA" + len(header).to_bytes(8, "little") + header, origin="x.artifact")


def rewritten(change: object) -> bytes:
    data = DATA["gpu"]
    length = int.from_bytes(data[4:12], "little")
    header = json.loads(data[12 : 12 + length])
    change(header)  # type: ignore[operator]
    text = json.dumps(header, sort_keys=True).encode()
    return data[:4] + len(text).to_bytes(8, "little") + text + data[12 + length :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(version=1), "version 1"),
        (lambda h: h.update(version=3), "version 3"),
        (lambda h: h.pop("spec"), "spec"),
        (lambda h: h["spec"].update(op="conv3d"), "conv3d"),
        (lambda h: h["spec"].update(batch=0), "batch"),
        (lambda h: h["args"][0].update(role="reader"), "reader"),
        (lambda h: h["args"][0].update(nbytes=-1), "negative"),
        (lambda h: h["packing"].update(kind="odd"), "odd"),
        (lambda h: h.update(check=None), "."),
        (lambda h: h.pop("launch"), "launch"),
        (lambda h: h.update(launch=None), "belong together"),
        (lambda h: h.update(resources=None), "belong together"),
        (lambda h: h["launch"].update(grid=[1, 0, 1]), "impossible launch"),
        (lambda h: h["launch"].update(grid="abc"), "."),
        (lambda h: h["launch"].update(threads=128), "contradicts"),
        (lambda h: h["launch"].update(shared_bytes=24577), "contradicts"),
        (lambda h: h["resources"].pop("registers"), "registers"),
        (lambda h: h["resources"].update(registers=-1), "impossible resources"),
        (lambda h: h["resources"].update(blocks_per_sm=0), "impossible resources"),
        (lambda h: h["resources"].update(occupancy=1.1), "impossible resources"),
        (lambda h: h["resources"].update(occupancy=float("nan")), "impossible resources"),
        (lambda h: h["resources"].update(instructions=5), "."),
        (lambda h: h["resources"]["main_loop"].update(LDSM=25), "the kernel has not"),
        (lambda h: h["resources"].update(registers=131), "digest"),
        (lambda h: h.update(native=False), "digest"),
    ],
)
def test_a_header_that_does_not_fit_is_named(change: object, says: str) -> None:
    with pytest.raises(InvalidFile, match=rf"^x\.artifact: .*{says}"):
        Artifact.from_bytes(rewritten(change), origin="x.artifact")


@pytest.mark.parametrize(
    "other",
    [
        GPU_ARTIFACT,
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


@pytest.mark.parametrize(
    "other",
    [
        replace(GPU_ARTIFACT, launch=Launch((98, 2, 1), 256, 16384)),
        replace(GPU_ARTIFACT, launch=Launch((98, 1, 1), 256, 0)),
        replace(GPU_ARTIFACT, resources=replace(RESOURCES, least_driver="580.65.06")),
        replace(GPU_ARTIFACT, resources=replace(RESOURCES, main_loop={})),
    ],
)
def test_the_digest_covers_launch_and_resources(other: Artifact) -> None:
    assert other.sha256 != GPU_ARTIFACT.sha256
