"""The latency lookup table (LUT) of one device, as a CSV file that needs nothing but `pandas.read_csv`.

schema.py  the columns, and `LutRow`: one price of one kernel
check.py   what is wrong with a file
store.py   read, merge, write atomically, update under a lock, which file belongs to which instrument
build.py   rows from the records of the journals
age.py     which of two measurements is the later one, as far as clocks can be believed
demand.py  which kernels a network can need
narrow_tensors.py  which tensors of a network cannot be narrow
kernel_list.py  kernels listed in a file
autotvm/   rows from the tuning logs of AutoTVM
table.py   the network's table: layer, one latency per precision, speedup, totals
comparison.py  two tables beside each other
"""
