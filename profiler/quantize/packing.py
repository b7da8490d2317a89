"""How the parameters of a kernel lie in memory: the kinds of layouts, and what each is told."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.quantize.lookup import GROUP, WIDE_GROUP

KINDS = ("plain", "dot", "depthwise", "mma", "lookup", "popcount")
BITWISE = ("lookup", "popcount")
"""Kinds for weights of one to three bits."""


@dataclass(frozen=True)
class Packing:
    """How the parameters of one kernel lie in memory (weights, and vectors of one value per output channel).

    kind:

    - ``plain``: weights as OHWI (stored along I as activations are), vectors unpadded.
    - ``dot``: blocks for dot-product instructions. Per group, all groups one after another, with O_g output channels
      (padded with zero weights to a multiple of ``channel_block``): int8 of shape
      [O_g / channel_block][kernel_h][R][channel_block / lanes][lanes][4], R being over runs of 4 consecutive elements
      of a kernel row. With ``merged_rows`` that row is the kernel_w * I elements (I inner), padded with zeros to a
      multiple of 4 (up to 4 bits: 8); otherwise each of its kernel_w pixels is padded by itself (kernel_w outer).
      Weights of up to 4 bits, as 4-bit ones: runs 2j and 2j + 1 share bytes, 2j in the low nibble:
      [..][R / 2][..][lanes][4] bytes.
    - ``depthwise``: weights [kernel_h, kernel_w, O] (up to 4 bits: two per byte along O), O padded with zeros to a
      multiple of ``channel_block``, like the vectors.

    - ``mma``: rows of 32-bit words for tensor cores. Per group, all groups one after another, with O_g output channels
      (padded with zero weights to a multiple of ``channel_block``): a row is kernel_h x kernel_w taps, each padded with
      zeros to whole words, and the row itself to a multiple of ``step_words``. In a word the first element is lowest.
      Shape [O_g][row], or ``tiled`` [O_g / channel_block][row / step_words][channel_block][step_words].
      Weights narrower than 4-bit activations are stored in 4 bits. For activations in bit planes weights are planes,
      too: a channel has a row for each plane, in the order that `bit_mma` describes, and a tap is the words of a plane.

    - ``lookup``, ``popcount``: weights of one to three bits, without groups: indices of sums (see `lookup`), or words
      of planes (see `popcount`). Where the output is found by comparing, one argument ``thresholds``
      [code of the residual, if any][levels][O] stands for bias, multipliers and shifts: int16 or int32 as the raw
      accumulators are, padded with the largest of them.

    Vectors (bias, multiplier, shift, residual_multiplier, residual_shift) are padded as the output channels of their
    kind are: bias and multiplier with 0, shift with 1.

    channel_block : output channels of one block. lanes : ``dot``, ``lookup``, ``popcount``: output channels of one
    vector register.
    step_words, tiled : ``mma``: as above.
    activation_offset : what the kernel adds to the activations, so that they have the sign that the instruction wants;
    the bias is packed as bias - activation_offset * sum(weights), also where the epilogue has no bias argument.
    activation_weight : ``mma`` on bit planes, of a kernel that counts the bits that differ: the sum of the activations'
    place values; the bias is packed with what the weights alone add (see `bit_mma`), also where the epilogue has none.
    group : ``lookup``: input channels of an index.
    """

    kind: str
    channel_block: int = 1
    lanes: int = 1
    merged_rows: bool = False
    activation_offset: int = 0
    step_words: int = 1
    tiled: bool = False
    activation_weight: int = 0
    group: int = GROUP

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown packing '{self.kind}'; known are: {', '.join(KINDS)}")
        if self.channel_block < 1 or self.lanes < 1 or self.channel_block % self.lanes:
            raise ValueError(f"packing: blocks of {self.channel_block} channels do not divide into {self.lanes} lanes")
        if self.kind not in ("dot", *BITWISE) and self.lanes != 1:
            raise ValueError(f"packing '{self.kind}' has no lanes")
        if self.kind != "dot" and self.merged_rows:
            raise ValueError(f"packing '{self.kind}' has no merged rows")
        if self.kind == "lookup" and self.lanes % 2:
            raise ValueError(f"packing 'lookup' has two halves of lanes, not {self.lanes} lanes")
        if self.group not in (GROUP, WIDE_GROUP) or (self.kind != "lookup" and self.group != GROUP):
            raise ValueError(f"packing '{self.kind}' cannot have indices of {self.group} channels")
        if self.step_words < 1 or (self.kind != "mma" and (self.step_words, self.tiled) != (1, False)):
            raise ValueError(f"packing '{self.kind}' cannot have steps of {self.step_words} words, tiled {self.tiled}")
        if self.kind == "mma" and self.activation_offset:
            raise ValueError("packing 'mma' has no activation offset")
        if self.kind != "mma" and self.activation_weight:
            raise ValueError(f"packing '{self.kind}' counts no bits that differ")
        if self.kind == "plain" and self.channel_block != 1:
            raise ValueError("packing 'plain' has no channel blocks")
