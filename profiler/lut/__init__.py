"""The latency lookup table (LUT) of one device, as a CSV file that needs nothing but `pandas.read_csv`.

schema.py  the columns, and `LutRow`: one price of one kernel
check.py   what is wrong with a file
store.py   read, merge, write atomically, update under a lock, which file belongs to which instrument
build.py   rows from the records of the journals
demand.py  which kernels a network can need
autotvm/   rows from the tuning logs of AutoTVM
table.py   the network's table: layer, one latency per precision, speedup, totals
comparison.py  two tables beside each other
"""
