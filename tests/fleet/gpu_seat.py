"""A worker's measuring process on a machine that pretends to have GPUs: python -m tests.fleet.gpu_seat MACHINE PARENT

As `tests.rehearsal.machine`: everything is real but NVIDIA's two libraries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from profiler.fleet.seat import Seat, serve
from tests.rehearsal.machine import vendor_of

if __name__ == "__main__":
    serve(Seat(vendor_of(json.loads(Path(sys.argv[1]).read_text())), machine="pretended"))
