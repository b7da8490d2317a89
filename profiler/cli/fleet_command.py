"""`profile --scheduler`: the same request, measured on the cards of a fleet."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from profiler.errors import ProfilerError

if TYPE_CHECKING:
    from profiler.pipeline import ProfileRequest


@dataclass(frozen=True)
class FleetOptions:
    """The options that name a fleet, as they were given."""

    scheduler: str | None
    tls_ca_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    insecure: bool
    complete: bool

    @property
    def wanted(self) -> bool:
        """Whether a fleet is meant. Raises `ProfilerError` for options of one without its scheduler."""
        given = {
            "--tls-ca-file": self.tls_ca_file,
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
            "--insecure": self.insecure,
            "--no-complete": not self.complete,
        }
        stray = [option for option, value in given.items() if value]
        if self.scheduler is None and stray:
            raise ProfilerError(f"{stray[0]} is for a fleet: say which one with --scheduler tls://host:8786")
        return self.scheduler is not None


def profile(request: ProfileRequest, options: FleetOptions, json_output: bool) -> None:
    """Run it, and print a table or JSON."""
    from profiler.cli.fleet_progress import fleet_display  # late, as in `commands`
    from profiler.cli.fleet_tables import fleet_json, print_fleet
    from profiler.fleet.access import WARNING, Access
    from profiler.fleet.request import FleetRequest
    from profiler.fleet.stage import profile as run_profile

    assert options.scheduler is not None
    access = Access(options.scheduler, options.tls_ca_file, options.tls_cert, options.tls_key, options.insecure)
    asked = {field.name: getattr(request, field.name) for field in fields(request)}
    with fleet_display(WARNING if options.insecure else "") as progress:
        result = run_profile(FleetRequest(**asked, access=access, complete=options.complete), progress)
    if json_output:
        typer.echo(json.dumps(fleet_json(result), indent=2))
    else:
        print_fleet(result)
