"""Run artifacts on the GPU and compare them with what the oracle said when they were built.

    python -m tests.gpu.check_artifacts FOLDER

FOLDER holds ``.lbk`` files (`profiler kernels` and `tests.gpu.build_cases` write them). Needs NumPy and the driver: no
TVM, no compiler. One line per artifact that fails and a summary; artifacts for other architectures are passed over.
Exit code 0 if at least one was right and none failed, 1 if not, 2 without a driver or a GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from enum import Enum
from pathlib import Path

from profiler.artifact import Artifact, Role
from profiler.errors import InvalidFile
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import sample_arguments
from tests.gpu.driver import LIBRARY, Driver, DriverError


class Verdict(str, Enum):
    RIGHT = "right"
    FAILED = "failed"
    FOREIGN = "for another architecture"
    UNTRIED = "not tried, because the GPU was lost"


def check(driver: Driver, artifact: Artifact) -> None:
    """Launch twice, so that whatever a launch leaves behind counts. Raises `AssertionError` or `DriverError`."""
    arguments = sample_arguments(artifact.spec, artifact.check.seed)
    left = driver.launch(artifact, pack_arguments(artifact.spec, artifact.packing, arguments), times=2)
    digest = hashlib.sha256(left["output"].tobytes()).hexdigest()
    assert digest == artifact.check.output_sha256, "the output is not the oracle's"
    for arg in artifact.args:
        assert arg.role is not Role.COUNTERS or not left[arg.name].any(), f"{arg.name} is not zero again"


def fault(driver: Driver, artifact: Artifact) -> str | None:
    """What is wrong with the artifact, in one line, or None. Kernels after one that fails get a context that works."""
    try:
        check(driver, artifact)
    except (AssertionError, DriverError) as error:
        driver.revive()
        return f"{artifact.spec.key} {artifact.config}: {error}"
    return None


def judge(driver: Driver, path: Path) -> Verdict:
    """Check the artifact of a file; what is wrong is printed."""
    if not driver.usable:
        return Verdict.UNTRIED
    try:
        artifact = Artifact.from_bytes(path.read_bytes(), path)
    except (InvalidFile, OSError) as error:
        wrong: str | None = str(error)
    else:
        if artifact.arch != driver.arch:
            return Verdict.FOREIGN
        wrong = fault(driver, artifact)
    if wrong is None:
        return Verdict.RIGHT
    print(f"FAILED {wrong}", flush=True)
    return Verdict.FAILED


def main(folder: Path, library: str = LIBRARY) -> int:
    try:
        driver = Driver(library=library)
    except DriverError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    paths = sorted(folder.rglob("*.lbk"))
    if not paths:
        print(f"error: {folder} holds no artifacts (*.lbk)", file=sys.stderr)
        return 1
    with driver:
        counts = Counter(judge(driver, path) for path in paths)
    found = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    print(f"{driver.name} ({driver.arch}), {len(paths)} kernels: {found}")
    return 0 if counts[Verdict.RIGHT] and not counts[Verdict.FAILED] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run artifacts on the GPU and compare them with the oracle.")
    parser.add_argument("folder", type=Path, help="holds .lbk files")
    sys.exit(main(parser.parse_args().folder))
