"""``python -m bench [layers|search|builds|published] ...``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bench.builds import bench_builds
from bench.layers import bench_layers
from bench.published import bench_published
from bench.search import bench_search
from profiler.hardware import GPUS

PARTS = ("layers", "search", "builds", "published")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), metavar="PART", help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batches", default="1,8", help="of layers, comma-separated")
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
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error(f"{arguments.threads} threads are more than this process has CPUs")
    if "layers" in arguments.parts:
        for batch in map(int, arguments.batches.split(",")):
            bench_layers(arguments.model, batch, arguments.threads, arguments.trials, arguments.rounds, arguments.out)
    if "search" in arguments.parts:
        bench_search(arguments.model, arguments.threads, arguments.trials, arguments.sweep)
    if "builds" in arguments.parts:
        bench_builds(arguments.model, arguments.build_batch, arguments.gpu, arguments.configs)
    if "published" in arguments.parts:
        bench_published()


main()
