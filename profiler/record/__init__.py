"""Records: what was measured, on which instrument, under which circumstances, or why it could not be.

One format, three uses: a live run writes it, a bundle brings it back, `devices/replay.py` reads it. A journal is a
JSONL file, one record a line, appended under a lock; a torn last line (a killed run) is recognised and dropped.

- `records`        `Measurement` (latency), `EnergyMeasurement`, `Failure`
- `fingerprint`    the instrument. `circumstances`: what the user chose, and what changed by the minute
- `energy`         windows of work with their joules
- `codec`          a record as a line. `journal`: lines in a file
- `checks`         what a field must be
"""

from profiler.record.checks import (
    escaped,
    require_bool,
    require_count,
    require_digest,
    require_number,
    require_text,
)
from profiler.record.circumstances import CacheMode, Circumstances, Conditions
from profiler.record.codec import RECORD_VERSION, decode, encode
from profiler.record.energy import Energy, EnergyWindow
from profiler.record.fingerprint import Fingerprint
from profiler.record.journal import Journal
from profiler.record.records import (
    FINAL_STAGE,
    SCREEN_STAGE,
    STAGES,
    EnergyMeasurement,
    Failure,
    FailureKind,
    KernelRecord,
    Measurement,
    Record,
    of_the_device,
)

__all__ = [
    "FINAL_STAGE",
    "RECORD_VERSION",
    "SCREEN_STAGE",
    "STAGES",
    "CacheMode",
    "Circumstances",
    "Conditions",
    "Energy",
    "EnergyMeasurement",
    "EnergyWindow",
    "Failure",
    "FailureKind",
    "Fingerprint",
    "Journal",
    "KernelRecord",
    "Measurement",
    "Record",
    "decode",
    "encode",
    "escaped",
    "of_the_device",
    "require_bool",
    "require_count",
    "require_digest",
    "require_number",
    "require_text",
]
