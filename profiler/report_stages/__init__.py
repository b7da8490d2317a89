"""From files to a report, and to a comparison of two tables.

- `report`    the whole: read, worked out, drawn, written
- `subject`   what it is about: the table, the network that it is read for, prices, journals
- `unit_time` `rates` `run_noise` `causes`  what several sections need
- `speedups` `speedup_overview` `courses` `throughputs` `rooflines` `allocations` `predictions` `tunings` `healths`
  `publisheds`  a section each
- `layer_table`    all that is known of each layer, in a row
- `front_content`  the figure of a Pareto front, which `allocate --plot` draws too
- `words`          names, dates and half sentences as text
- `card_spread`    how far this card is from others of its model, where a fleet has compared them
- `compare` `compare_labels` `compare_noise` `compare_notes`  two tables beside each other
"""
