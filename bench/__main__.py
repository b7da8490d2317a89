"""``python -m bench [PART ...] [OPTION ...]``, ``... repeat A.csv B.csv``, ``... int_mm [OPTION ...]``,
``... ranking [OPTION ...]``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from profiler.errors import ProfilerError
from profiler.hardware import GPUS

PARTS = ("layers", "low_bits", "network", "search", "builds", "published", "predictor", "allocation")
COMPARISONS = ("repeat", "int_mm", "ranking")
"""With arguments of their own, and imported alone: where they run there is no ONNX Runtime, perhaps."""


def main(arguments: Sequence[str]) -> None:
    """A user's error is one line on standard error and exit code 2."""
    try:
        if arguments and arguments[0] in COMPARISONS:
            import_module(f"bench.{arguments[0]}").main(arguments[1:])
        else:
            _run_parts(arguments)
    except ProfilerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _run_parts(arguments: Sequence[str]) -> None:
    parsed = _parse(arguments)
    if "layers" in parsed.parts:
        from bench.layers import bench_layers

        for batch in map(int, parsed.batches.split(",")):
            bench_layers(parsed.model, batch, parsed.threads, parsed.trials, parsed.rounds, parsed.out)
    if "low_bits" in parsed.parts:
        from bench.low_bits import bench_low_bits

        bench_low_bits(parsed.model, parsed.trials, parsed.rounds, parsed.out)
    if "network" in parsed.parts:
        from bench.network import bench_networks

        batches = [int(batch) for batch in parsed.batches.split(",")]
        bench_networks(parsed.networks.split(","), batches, parsed.trials, parsed.rounds, parsed.lut, parsed.out)
    if "search" in parsed.parts:
        from bench.search import bench_search

        bench_search(parsed.model, parsed.threads, parsed.trials, parsed.sweep)
    if "builds" in parsed.parts:
        from bench.builds import bench_builds

        bench_builds(parsed.model, parsed.build_batch, parsed.gpu, parsed.configs)
    if "published" in parsed.parts:
        from bench.published import bench_published

        bench_published()
    if "predictor" in parsed.parts:
        from bench.predictor import bench_predictor

        bench_predictor()
    if "allocation" in parsed.parts:
        from bench.allocation import bench_allocation

        bench_allocation()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    more = f"{', '.join(COMPARISONS)} have options of their own: python -m bench {COMPARISONS[0]} --help"
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, epilog=more)
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), metavar="PART", help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batches", default="1,8", help="of layers and network, comma-separated")
    parser.add_argument("--networks", default="resnet18,resnet50", help="of network, comma-separated")
    parser.add_argument("--lut", type=Path, help="of network: a table of this machine, whose configs are taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30, help="interleaved samples of each side")
    parser.add_argument("--sweep", type=int, default=200, help="configs of a space that are measured at random")
    parser.add_argument("--gpu", default="t4", choices=list(GPUS), help="of builds; none need be there")
    parser.add_argument("--configs", type=int, default=4, help="of builds: candidates per kernel, over its space")
    parser.add_argument("--build-batch", type=int, default=8, help="of builds")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="folder of the tuning records, used again"
    )
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join((*PARTS, *COMPARISONS))}")
    if parsed.threads > len(os.sched_getaffinity(0)):
        parser.error(f"{parsed.threads} threads are more than this process has CPUs")
    return parsed


if __name__ == "__main__":
    main(sys.argv[1:])
