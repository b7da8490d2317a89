"""Allocating bits, as functions of files. The command line calls these.

- `allocate`     network, LUT, sensitivities, limits -> bits.json, with reasons and a Pareto front
- `prices`       LUT rows and predictions -> the price of each kernel that the network can need
- `which_lut`    the table to read where the user names a device and not a file
- `sensitivity_source`  the sensitivities to take where the user names a method, or nothing
- `outcome`      an assignment of the problem -> what it means for the network
- `result`       what `allocate` hands out
- `from_problem` a problem as a JSON file -> its optimum
"""
