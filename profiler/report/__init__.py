"""Figures of what was found: the only room that knows matplotlib.

- `front`         what the figure of a Pareto front shows
- `front_figure`  the figure
"""
