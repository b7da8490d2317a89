"""What runs on the box: ``python3 run.zip -o results.jsonl``. No compiler, no network, Python 3.8 or newer.

- `__main__`  refuses an older Python in its own words; also stands at the top of the zip
- `start`     the command line, and how errors end it
- `archive`   the zip from inside
- `manifest`  what is to be measured, under which conditions
- `packed`    a whole network as it lies in the zip
- `wheels`    NumPy and the like out of the zip, where the box has none
- `machine`   the device that the bundle is for, opened; another one refused
- `draws`     whether this NumPy draws the arguments that the bundle was made with
- `selftest`  ``--check``: what can be found wrong before anything is measured
- `plan`      what to measure next, given what is known and the time that is left
- `session`   the loop: plan, measure, journal
- `network_run`  a network on the device: verified by digests, timed
- `results`   the file that comes back; `chain`: its lines, linked by digests; `network_record`: those of networks
- `end_to_end`   what such a file says of networks: their latencies, beside the sums of their kernels
- `bar`       progress
"""
