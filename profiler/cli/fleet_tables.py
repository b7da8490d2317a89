"""What a run on a fleet ends with: the network's table, the cards, and how far they differ; the same as JSON."""

from __future__ import annotations

from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from profiler.cli.json_text import Json, profile_json
from profiler.cli.tables import print_notes, print_profile, table_console
from profiler.fleet.result import FleetResult
from profiler.fleet.spread import Spread


def print_fleet(result: FleetResult) -> None:
    print_profile(result.profile)
    console = table_console()
    view = Table(title=f"cards of {escape(result.scheduler)}", title_justify="left", box=None, pad_edge=False)
    for column in ("fingerprint", "device", "workers", "LUT"):
        view.add_column(column, overflow="fold")
    for column in ("kernels", "in the table"):
        view.add_column(column, justify="right")
    for card in result.cards:
        path = "-" if card.lut_path is None else str(card.lut_path)
        cells = (card.fingerprint, card.device_name, "\n".join(card.places), path, str(card.kernels), str(card.used))
        view.add_row(*map(escape, cells))
    console.print(view)
    for spread in result.spreads:
        console.print(_spread_table(spread))
        console.print(escape(spread.text), soft_wrap=True)
    if result.lost:
        over = f", {len(result.given_up)} of them for good" if result.given_up else ", and went on elsewhere"
        times = "a workload" if result.lost == 1 else f"{result.lost} times a workload"
        console.print(f"{times} came back unfinished{over}", soft_wrap=True)
    print_notes(console, result.refused)


def _spread_table(spread: Spread) -> Table:
    view = Table(box=None, pad_edge=False)
    view.add_column("card against the typical one", overflow="fold")
    for column in ("median ratio", "range", "kernels"):
        view.add_column(column, justify="right")
    for card in spread.cards:
        span = f"{card.low:.3f} .. {card.high:.3f}"
        view.add_row(escape(card.card), f"{card.median:.3f}", span, str(card.kernels))
    return view


def fleet_json(result: FleetResult) -> Json:
    """That of `profile`, and under ``fleet`` what is of the fleet."""
    cards = [{**asdict(card), "lut_path": str(card.lut_path) if card.lut_path else None} for card in result.cards]
    return {
        **profile_json(result.profile),
        "fleet": {
            "scheduler": result.scheduler,
            "cards": cards,
            "spreads": [
                {
                    "model": spread.model,
                    "kernels": list(spread.kernels),
                    "cards": [asdict(card) for card in spread.cards],
                    "median_ratio_low": spread.low,
                    "median_ratio_high": spread.high,
                    "kernel_ratio_low": spread.kernel_low,
                    "kernel_ratio_high": spread.kernel_high,
                }
                for spread in result.spreads
            ],
            "lost": result.lost,
            "given_up": [asdict(given_up) for given_up in result.given_up],
            "refused": list(result.refused),
        },
    }
