"""Where values and parameters lie: what is alive at one time never shares memory, and kernels get the right places."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.artifact import Role
from profiler.errors import UnsupportedModel
from profiler.network.execute.planned import Memory, Place
from profiler.network.integer_network import IntegerNetwork
from profiler.network.memory import ALIGNMENT, STAGGER_BYTES, Block, arranged, most_needed
from profiler.network.plan import parameter_bytes, plan
from profiler.workload import DType, Epilogue
from tests.network.integer_drafts import Draft, codeless

U8, S8, U4, S4, I32 = DType.UINT8, DType.INT8, DType.UINT4, DType.INT4, DType.INT32


@st.composite
def some_blocks(draw: st.DrawFn) -> list[Block]:
    spans = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)
    sizes = st.one_of(st.integers(0, 300), st.sampled_from([0, 64, 4096, 8192, 10_000]))
    return [Block(draw(sizes), *draw(spans)) for _ in range(draw(st.integers(0, 14)))]


@given(some_blocks())
@settings(max_examples=300, deadline=None)
def test_blocks_that_are_needed_together_do_not_overlap(blocks: list[Block]) -> None:
    arena = arranged(blocks)
    owners: dict[tuple[int, int], int] = {}
    for index, (block, offset) in enumerate(zip(blocks, arena.offsets, strict=True)):
        assert offset % ALIGNMENT == 0
        assert offset + block.nbytes <= arena.nbytes
        for step in range(block.first, block.last + 1):
            for byte in range(offset, offset + block.nbytes, 16):  # every block begins at a multiple of 64
                assert owners.setdefault((step, byte), index) == index
    loads = [sum(b.nbytes for b in blocks if b.first <= step <= b.last) for step in range(13)]
    assert most_needed(blocks) == max(loads) <= arena.nbytes
    assert arena.nbytes <= sum(-(-b.nbytes // ALIGNMENT) * ALIGNMENT + STAGGER_BYTES for b in blocks if b.nbytes)
    assert arranged(blocks) == arena


def test_a_chain_takes_two_values() -> None:
    """Of blocks of which two neighbours are needed together, the first and the third share memory."""
    blocks = [Block(1000, step, step + 1) for step in range(8)]
    arena = arranged(blocks)
    assert len(set(arena.offsets)) == 2
    assert arena.nbytes == 2 * (1024 + STAGGER_BYTES)


def test_a_gap_is_used_by_the_block_that_fits_it_best() -> None:
    blocks = [Block(4096, 0, 9), Block(640, 0, 0), Block(4096, 0, 9), Block(640, 1, 1), Block(64, 1, 1)]
    assert arranged(blocks).nbytes == 2 * 4096 + 640 + 3 * STAGGER_BYTES + 64 + STAGGER_BYTES


@pytest.mark.parametrize(("nbytes", "first", "last"), [(-1, 0, 0), (1, 2, 1)])
def test_what_is_no_block(nbytes: int, first: int, last: int) -> None:
    with pytest.raises(ValueError, match="not a block"):
        Block(nbytes, first, last)


@st.composite
def random_networks(draw: st.DrawFn) -> IntegerNetwork:
    """Any step may read any value that lies far behind; some values are read by nobody, some are handed out."""
    draft = Draft(batch=draw(st.integers(1, 2)))
    dtype = draw(st.sampled_from([U8, U4]))
    size, channels = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 3))
    inputs = [draft.input(size, size, channels, dtype) for _ in range(draw(st.integers(1, 2)))]
    known = list(inputs)
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(["conv", "residual", "add", "concat", "convert"]))
        x, y = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        if kind == "concat":
            parts = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            whole = draft.concat(parts, draw(st.sampled_from([U8, U4])))
            known.append(draft.conv(whole, channels, output=dtype))
        elif kind == "add":
            known.append(draft.add(x, y, dtype))
        elif kind == "residual":
            known.append(draft.conv(x, channels, output=dtype, epilogue=Epilogue.ADD_REQUANT, residual=y))
        elif kind == "convert":
            known.append(draft.conv(draft.convert(x, U8 if dtype is U4 else U4), channels, output=dtype))
        else:
            known.append(draft.conv(x, channels, output=dtype))
    outputs = draw(st.lists(st.sampled_from(known[len(inputs) :]), min_size=1, max_size=2, unique=True))
    return draft.network(outputs)


@given(random_networks(), st.sampled_from([0, 100]))
@settings(max_examples=120, deadline=None)
def test_every_step_finds_what_it_reads(network: IntegerNetwork, workspace: int) -> None:
    """Simulated byte by byte, twice in a row: every byte of the arena remembers which value was written there last."""
    artifacts = codeless(network, workspace)
    planned = plan(network, artifacts)
    memory = np.full(planned.arena_nbytes, "", object)
    for value in planned.inputs:
        memory[value.place.slice] = value.name
    for _ in range(2):
        for step, placed in zip(network.steps, planned.steps, strict=True):
            reads, args = dict(step.reads), artifacts[step.spec].args
            for arg, place in zip(args, placed.args, strict=True):
                if arg.role is Role.INPUT:
                    assert (memory[place.slice] == reads[arg.name]).all()
                elif place.memory is Memory.ARENA:
                    assert arg.role is not Role.WORKSPACE or place.nbytes == workspace
                    memory[place.slice] = step.writes if arg.role in (Role.OUTPUT, Role.INOUT) else "scratch"
            memory[placed.output.slice] = step.writes
        for value in planned.outputs:
            assert (memory[value.place.slice] == value.name).all()
    assert planned.needed_nbytes <= planned.arena_nbytes
    assert planned.needed_nbytes <= planned.unshared_nbytes


@given(random_networks())
@settings(max_examples=60, deadline=None)
def test_parameters_lie_apart_as_their_kernels_read_them(network: IntegerNetwork) -> None:
    artifacts = codeless(network, counters=4)
    planned = plan(network, artifacts)
    memory = parameter_bytes(network, artifacts, planned)
    assert memory.size == planned.parameter_nbytes
    places = []
    for step, placed in zip(network.steps, planned.steps, strict=True):
        for arg, place in zip(artifacts[step.spec].args, placed.args, strict=True):
            if place.memory is not Memory.PARAMETERS:
                continue
            assert place.offset % ALIGNMENT == 0
            places.append(place)
            if arg.role is Role.COUNTERS:
                assert memory[place.slice].tobytes() == bytes(4)
            elif arg.name == "weight":  # packed plainly: bytes in the order of the array
                assert memory[place.slice].tobytes() == step.parameters["weight"].astype(np.int8).tobytes()
            else:
                assert memory[place.slice].tobytes() == step.parameters[arg.name].astype("<i4").tobytes()
    for a, b in combinations(places, 2):
        assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


def test_what_a_residual_block_takes() -> None:
    """Counted by hand: the input is kept, and while the block's second convolution runs, three values are alive."""
    draft = Draft()
    x = draft.input(4, 4, 16, U8)
    a = draft.conv(x, 16)
    b = draft.conv(a, 16, 3)
    c = draft.add(b, a)
    d = draft.conv(c, 16)
    network = draft.network([d])
    planned = plan(network, codeless(network))
    size = 4 * 4 * 16
    assert planned.needed_nbytes == 4 * size  # x, a, b, c
    assert planned.unshared_nbytes == 5 * size
    assert planned.arena_nbytes == 4 * (size + STAGGER_BYTES)
    assert planned.kernels == tuple(dict.fromkeys(step.spec.key for step in network.steps))
    assert len(planned.kernels) == 3  # the first and the last convolution are one kernel
    assert [step.kernel for step in planned.steps] == [0, 1, 2, 0]


def test_a_slice_is_the_output_moved_by_its_channels() -> None:
    draft = Draft()
    x = draft.input(2, 2, 6, U8)
    whole = draft.concat([x, x, x], U4)
    planned = plan(network := draft.network([whole]), codeless(network))
    places = [step.args[-3] for step in planned.steps]  # scratch memory and counters lie behind
    (output,) = planned.outputs
    assert output.place.nbytes == 2 * 2 * 9
    start = output.place.offset
    assert places == [Place(Memory.ARENA, start + 3 * i, 36 - 3 * i) for i in range(3)]
    assert [step.output for step in planned.steps] == [output.place] * 3
    assert [step.begins for step in planned.steps] == [True, False, False]


def test_a_slice_in_the_middle_of_a_byte_is_refused() -> None:
    draft = Draft()
    x = draft.input(2, 2, 3, U8)
    network = draft.network([draft.concat([x, x], S4)])
    with pytest.raises(
        UnsupportedModel, match=r"layer 'layer1' writes 'v1' from channel 3 on, in the middle of a byte"
    ):
        plan(network, codeless(network))
    eight = Draft()
    network = eight.network([eight.concat([eight.input(2, 2, 3, U8)] * 2, S8)])
    assert plan(network, codeless(network)).steps[1].args[-3].nbytes == 24 - 3


def test_flattened_pixels_with_spare_bits_are_refused() -> None:
    draft = Draft()
    network = draft.network([draft.dense(draft.input(2, 2, 3, U4), 5)])
    with pytest.raises(UnsupportedModel, match="layer 'layer0' takes 'v0' for 6 bytes, but it lies in 8"):
        plan(network, codeless(network))
    even = Draft()
    network = even.network([even.dense(even.input(2, 2, 4, U4), 5)])
    assert plan(network, codeless(network)).steps[0].args[0].nbytes == 8


def test_a_kernel_is_missing() -> None:
    draft = Draft()
    network = draft.network([draft.dense(draft.input(1, 1, 4, U8), 5)])
    with pytest.raises(ValueError, match="there is no artifact of dense_n1_1x1x4_o5"):
        plan(network, {})
