"""Errors that a user can act on.

Everything that a user can cause (a broken file, an unknown operator, a device that is not there) is a `ProfilerError`.
The command line prints its text as one line and exits with 2; any other exception is a defect of ours.
"""

from __future__ import annotations


class ProfilerError(Exception):
    """Base of all errors whose text is written for the user: what happened, where, and what to do."""


class InvalidWorkload(ProfilerError):
    """A workload, layer or network whose numbers contradict each other."""


class UnsupportedModel(ProfilerError):
    """A model file that cannot be read, or that holds an operator which has no kernel here."""


class InvalidConfig(ProfilerError):
    """A schedule config that its template, workload or device does not admit."""


class CompilerError(ProfilerError):
    """A compiler that is missing, or that refused a kernel."""


class DeviceError(ProfilerError):
    """A device that is not there, or that cannot do what was asked of it."""


class NotRecorded(DeviceError):
    """The replay device was asked for a measurement that its records do not hold."""


class InvalidFile(ProfilerError):
    """A file of one of our formats (LUT, tuning log, artifact) that is damaged or of an unknown version."""


class OutputError(ProfilerError):
    """A file or folder that cannot be written."""


class NoAllocation(ProfilerError):
    """No precisions of the layers meet what was asked of them together."""


class FingerprintMismatch(ProfilerError):
    """Rows of two different instruments were about to be mixed."""
