"""``python -m bench [layers|search] ...``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bench.layers import bench_layers
from bench.search import bench_search


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=["layers", "search"], metavar="PART", help="layers, search (default: both)"
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batches", default="1,8", help="comma-separated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30, help="interleaved samples of each side")
    parser.add_argument("--sweep", type=int, default=200, help="configs of a space that are measured at random")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="folder of the tuning records, used again"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - {"layers", "search"}
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error(f"{arguments.threads} threads are more than this process has CPUs")
    if "layers" in arguments.parts:
        for batch in map(int, arguments.batches.split(",")):
            bench_layers(arguments.model, batch, arguments.threads, arguments.trials, arguments.rounds, arguments.out)
    if "search" in arguments.parts:
        bench_search(arguments.model, arguments.threads, arguments.trials, arguments.sweep)


main()
