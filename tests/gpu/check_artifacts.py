"""Run artifacts on the GPU and compare them with what the oracle said when they were built.

    python -m tests.gpu.check_artifacts FOLDER

FOLDER holds ``.lbk`` files (`profiler kernels` and `tests.gpu.build_cases` write them). Needs NumPy and the driver: no
TVM, no compiler. One line per artifact that fails, a summary, exit code 1 if any failed.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from profiler.artifact import Artifact, Role
from profiler.quantize.packing import pack_arguments
from profiler.quantize.samples import sample_arguments
from tests.gpu.driver import Driver, DriverError


def check(driver: Driver, artifact: Artifact) -> None:
    """Launch twice, so that whatever a launch leaves behind counts. Raises `AssertionError` or `DriverError`."""
    arguments = sample_arguments(artifact.spec, artifact.check.seed)
    left = driver.launch(artifact, pack_arguments(artifact.spec, artifact.packing, arguments), times=2)
    digest = hashlib.sha256(left["output"].tobytes()).hexdigest()
    assert digest == artifact.check.output_sha256, "the output is not the oracle's"
    for arg in artifact.args:
        assert arg.role is not Role.COUNTERS or not left[arg.name].any(), f"{arg.name} is not zero again"


def main(folder: Path) -> int:
    paths = sorted(folder.rglob("*.lbk"))
    failed = 0
    with Driver() as driver:
        for path in paths:
            artifact = Artifact.from_bytes(path.read_bytes(), path)
            try:
                check(driver, artifact)
            except (AssertionError, DriverError) as error:
                failed += 1
                print(f"FAILED {artifact.spec.key} {artifact.config}: {error}", flush=True)
        print(f"{len(paths) - failed} of {len(paths)} kernels right on {driver.name} ({driver.arch})")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
