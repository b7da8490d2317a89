"""From the sums of pairs of bit planes to sums of pixels and channels, in registers (see `quantize.bit_mma`)."""

from __future__ import annotations

from functools import reduce
from operator import add

from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.mma_fragments import Fragments, Sums
from profiler.kernels.tir import Expr, const, load, local, store
from profiler.quantize.bit_mma import place_values
from profiler.space.mma_plan import Counted, MmaPlan
from profiler.workload import DType


def emit_joined(plan: MmaPlan, fragments: Fragments) -> Sums:
    """Weighted sums over the planes; what a kernel without planes has is what it had.

    They are linear in the bits counted, so that parts of a split K can be added up; `emit_finished` comes after that.
    """
    if not plan.in_planes:
        return fragments.sums
    pixels, channels = plan.config.warp_m // 8, plan.config.warp_n // 8
    joined = Sums(local(2 * pixels * channels), pixels, channels, paired=False)
    totals = _activation_totals(plan, fragments, pixels)
    for pixel in range(pixels):
        for channel in range(channels):
            for i in range(2):
                terms = [_times(factor, found) for factor, found in _pairs(plan, fragments.sums, pixel, channel, i)]
                if totals is not None:
                    terms.append(totals[pixel])
                store(joined.registers, joined.at(pixel, channel) + i, reduce(add, terms))
    return joined


def emit_finished(plan: MmaPlan, sums: Sums) -> None:
    """Complete the sums of all of K, but for what the bias holds."""
    if plan.halves:
        with T.unroll(sums.count) as i:
            store(sums.registers, i, -(load(sums.registers, i) >> 1))


def _pairs(plan: MmaPlan, sums: Sums, pixel: int, channel: int, i: int) -> list[tuple[int, Expr]]:
    """Factor and sum of each pair of planes of a tile of pixels and channels."""
    weight = plan.spec.weight_dtype
    assert weight is not None
    unit = 1
    if weight is DType.INT1:
        unit = 2 if plan.counted is Counted.SHARED else -1
    found = []
    for p, of_pixel in enumerate(place_values(plan.spec.input_dtype)):
        for q, of_channel in enumerate(place_values(weight)):
            at = sums.at(pixel * plan.pixel_planes + p, channel * plan.channel_planes + q)
            found.append((unit * of_pixel * of_channel, sums.registers[at + i]))
    return found


def _activation_totals(plan: MmaPlan, fragments: Fragments, pixels: int) -> list[Expr] | None:
    """Sums of the activations, with the sign with which they are added, of each tile of pixels."""
    counts = fragments.activations
    if counts is None:
        return None
    sign = -1 if plan.counted is Counted.SHARED else 1
    totals = local(pixels)
    for pixel in range(pixels):
        terms = [
            _times(sign * place, counts.registers[counts.at(pixel * plan.pixel_planes + p, 0)])
            for p, place in enumerate(place_values(plan.spec.input_dtype))
        ]
        store(totals, pixel, reduce(add, terms))
    return [totals[pixel] for pixel in range(pixels)]


def _times(factor: int, found: Expr) -> Expr:
    return found if factor == 1 else found * const(factor)
