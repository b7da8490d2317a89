"""Also read by Pythons that are too old, so nothing here is newer than they are."""

import sys

if sys.version_info < (3, 8):  # noqa: UP036
    sys.stderr.write("error: this needs Python 3.8 or newer, not %d.%d\n" % sys.version_info[:2])  # noqa: UP031
    sys.exit(2)

from profiler.bundle.box.start import main

sys.exit(main(sys.argv[1:]))
