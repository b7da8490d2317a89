"""Bit allocation: the precision of each layer, of least sensitivity within limits, as an integer linear program.

- `problem`          choices, tables, sharings, limits; what an assignment costs
- `program`          the problem as columns and rows
- `milp`             HiGHS, which solves them
- `solve`            the best assignment within limits; the ends of a fraction
- `pareto`           the front of sensitivity against a quantity
- `explain`          which limit cannot be met, which ones bind, what would change next
- `limit_text`       limits as a user writes them
- `problem_file`     a problem as a JSON file, as HAWQ-V3's was published
- `freedom`          what may be chosen for a network
- `price`            what a kernel costs
- `tensor_choices`   the choices of a network
- `unit_tables`      what its units cost
- `live_tensors`     the memory of its activations
- `network_problem`  all of these as a problem
- `deployment` `launches`  what of chosen bits decides on kernels, and the kernels
- `one_narrow`       bits that are INT8 in all layers but one
- `calibration`      from the sum of the kernels to the latency of the network
- `bits_file`        bits.json
"""
