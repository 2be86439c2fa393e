"""Bring all tenants to the newest version of the migrations in MCP_HTTP_TENANT_MIGRATIONS, and make in the databases
what they need once. The step of a release that needs the login of DIRECT_DATABASE_URL; run it again after a failure."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .database import actor, with_database
from .words import say

if TYPE_CHECKING:
    from ..adapters.postgres.administration.migrate import Outcome, Progress
    from ..adapters.postgres.administration.plan import Plan
    from ..adapters.postgres.database import Database

_LINE_SECONDS = 10.0  # between lines where nobody watches
_FRAME_SECONDS = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--phase",
        choices=("pre", "post"),
        default="post",
        help="pre: up to the last migration that a new release needs before it serves; post: all (default)",
    )
    parser.add_argument("--tenant", action="append", metavar="ID", help="this one only; may be repeated")
    parser.add_argument("--workers", type=_workers, default=2, metavar="N", help="transactions at a time (default 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="say what would run, and change nothing")
    instead.add_argument(
        "--script",
        action="store_true",
        help="change nothing, and print what an administrator may run instead, where the logins of the settings may "
        "make nothing; with --tenant also what makes these tenants",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.script and (arguments.json or arguments.phase == "pre"):
        raise ConfigurationError("--script goes with --tenant alone: leave out --json and --phase.")
    work = _script if arguments.script else _plan if arguments.dry_run else _migrate
    return with_database(lambda database: work(database, arguments), prepared=False)


async def _migrate(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.migrate import migrate

    _warn(database)
    with _ProgressLine() as line:
        outcome = await migrate(
            database,
            phase=arguments.phase,
            tenants=arguments.tenant,
            workers=arguments.workers,
            actor=actor(),
            report=line.tell,
        )
    print(json.dumps(dataclasses.asdict(outcome)) if arguments.json else _told(outcome))
    for tenant_id, reason in sorted(outcome.left_behind.items()):
        say(f"left behind: {tenant_id}: {reason}")
    return 1 if outcome.left_behind else 0


async def _plan(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.plan import plan

    _warn(database)
    plans = await plan(database, phase=arguments.phase, tenants=arguments.tenant)
    version = database.provisioner.migrations.up_to(arguments.phase)
    if arguments.json:
        print(json.dumps({"version": version, "databases": [dataclasses.asdict(each) for each in plans]}))
    else:
        print(f"Version {version} is the goal. Nothing has been changed.")
        print("\n".join(line for each in plans for line in _lines(each)))
    return 0


async def _script(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.script import script

    written = await script(database, arguments.tenant or ())
    print(written.text, end="")
    if written.behind:
        say(f"behind, and not in the script (name them with --tenant): {', '.join(written.behind)}")
    return 0


def _told(outcome: Outcome) -> str:
    lines = [f"{_tenants(outcome.migrated)} brought to version {outcome.version} in {outcome.seconds:.1f} s."]
    if not (outcome.migrated or outcome.left_behind):
        lines = [f"Every tenant has version {outcome.version}."]
    lines += [f"skipped: {tenant_id} ({state})" for tenant_id, state in sorted(outcome.skipped.items())]
    if outcome.left_behind:
        lines.append(f"{_tenants(len(outcome.left_behind))} left behind.")
    return "\n".join(lines)


def _lines(plan: Plan) -> list[str]:
    lines = [f"database {plan.dsn_id}{'' if plan.prepared else ': would be prepared first'}"]
    lines += [f"  {_tenants(number)} at version {version}" for version, number in plan.versions.items()]
    lines += [f"  {name} for {_tenants(number)}" for name, number in plan.files.items()]
    return lines + [f"  skipped: {tenant_id} ({state})" for tenant_id, state in plan.skipped.items()]


def _warn(database: Database) -> None:
    from ..adapters.postgres.administration.plan import not_on_citus

    for sentence in not_on_citus(database.provisioner.migrations):
        say(f"warning: {sentence}")


class _ProgressLine:
    """One line that changes on a terminal, a new one now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._pause = _FRAME_SECONDS if self._terminal else _LINE_SECONDS
        self._told = float("-inf") if self._terminal else time.monotonic()
        self._latest: str | None = None

    def tell(self, progress: Progress) -> None:
        self._latest = _line(progress)
        if time.monotonic() >= self._told + self._pause:
            self._told = time.monotonic()
            self._print("" if self._terminal else "\n")

    def _print(self, end: str) -> None:
        # CSI K wipes out what a longer line has left (ECMA-48, erase in line).
        start = "\r\x1b[K" if self._terminal else ""
        print(f"{start}{self._latest}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._terminal and self._latest is not None:
            self._print("\n")


def _line(progress: Progress) -> str:
    text = f"{progress.migrated} of {_tenants(progress.total)}, {progress.rate:.0f} a second"
    if progress.seconds_left is not None:
        text += f", {progress.seconds_left:.0f} s left"
    return text + (f", {progress.left_behind} left behind" if progress.left_behind else "")


def _tenants(number: int) -> str:
    return f"{number} tenant{'' if number == 1 else 's'}"


def _workers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 16:
        raise argparse.ArgumentTypeError("between 1 and 16")
    return number
