"""What an average pool of an integer network divides by: against torch, and against a count of one window at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.frontend.graph import Divisor, Graph, GraphInput, Kind, Node, Window
from profiler.frontend.lowering import build_network
from profiler.network.pool_counts import counted
from profiler.workload import Layer, Op, Workload
from tests.frontend.average_pools import divisors

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def layer_of(window: Window, size: tuple[int, int]) -> Layer:
    node = Node("y", "y", Kind.AVG_POOL, ("x",), ("y",), window=window)
    graph = Graph("pool", "pool", (GraphInput("x", (1, *size)),), (node,), ("y",))
    (layer,) = build_network(graph, 1).layers
    return layer


@settings(max_examples=400, deadline=None)
@given(data=st.data(), size=SIZES)
def test_it_is_what_torch_divides_by(data: st.DataObject, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    kernel, stride = (data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(2))
    pad = (data.draw(st.integers(0, kernel[0] // 2)), data.draw(st.integers(0, kernel[1] // 2)))
    assume(all(size[axis] + 2 * pad[axis] >= kernel[axis] for axis in range(2)))
    ceil_mode, divisor = data.draw(st.booleans()), data.draw(st.sampled_from(Divisor))
    arguments: dict[str, Any] = {
        Divisor.IMAGE: {"count_include_pad": False},
        Divisor.PADDED: {"count_include_pad": True},
        Divisor.KERNEL: {"divisor_override": kernel[0] * kernel[1]},
    }[divisor]

    def pooled(**how: Any) -> Any:
        ones = torch.ones(1, 1, *size, dtype=torch.float64)
        return torch.nn.functional.avg_pool2d(ones, kernel, stride, pad, ceil_mode, **how)[0, 0].numpy()

    layer = layer_of(Window(kernel, stride, (*pad, *pad), ceil_mode=ceil_mode, divisor=divisor), size)
    sums, averages = pooled(divisor_override=1), pooled(**arguments)
    assert counted(layer) == pytest.approx(sums / averages)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), size=SIZES)
def test_it_is_what_lies_under_each_window(data: st.DataObject, size: tuple[int, int]) -> None:
    kernel, stride, dilation = (data.draw(st.tuples(*[st.integers(1, top)] * 2)) for top in (4, 4, 3))
    pads = data.draw(st.tuples(*[st.integers(0, 5)] * 4))
    assume(all(size[i] + pads[i] + pads[i + 2] > dilation[i] * (kernel[i] - 1) for i in range(2)))
    counting = data.draw(st.tuples(*[st.integers(0, pad) for pad in pads]))
    workload = Workload(Op.AVG_POOL, 2, *size, 5, 5, *kernel, *stride, *pads, *dilation)
    layer = Layer("y", workload, ("x",), "y", counted_pads=counting)
    found = counted(layer)
    assert found.shape == (workload.out_height, workload.out_width)
    assert found.tolist() == divisors(layer).tolist()


@pytest.mark.parametrize(
    ("divisor", "expected"),
    [
        (Divisor.IMAGE, [[4, 6, 2], [6, 9, 3], [2, 3, 1]]),
        (Divisor.PADDED, [[9, 9, 6], [9, 9, 6], [6, 6, 4]]),
        (Divisor.KERNEL, [[9, 9, 9], [9, 9, 9], [9, 9, 9]]),
    ],
)
def test_by_hand(divisor: Divisor, expected: list[list[int]]) -> None:
    """Windows of 3 rows start at -1, 1 and 3 over 4 rows: the last holds one of the image, one of padding, and one that
    is there only because the output's extent is rounded up."""
    layer = layer_of(Window((3, 3), (2, 2), (1, 1, 1, 1), ceil_mode=True, divisor=divisor), (4, 4))
    assert counted(layer).tolist() == expected
