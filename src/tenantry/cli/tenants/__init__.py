"""Tenants: make, list, map, suspend, resume, export, import, check, move and drop them."""

from __future__ import annotations

import argparse
from pathlib import Path

_STATES = ("creating", "active", "suspended", "moving", "dropping")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    _configure_life(actions)
    _configure_data(actions)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="JSON on standard output")


def _configure_life(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    create = actions.add_parser("create", help="make a tenant")
    create.add_argument("tenant", metavar="TENANT", nargs="?", help="its id (default: follows from --domain)")
    source = create.add_mutually_exclusive_group()
    source.add_argument("--domain", help="the domain whose tenant it is, like example.com")
    source.add_argument("--organization", metavar="PROVIDER:ID", help="the organisation whose tenant it is")
    create.add_argument("--database", metavar="DSN_ID", default="main", help="where it lives (default: main)")
    listing = actions.add_parser("list", help="all tenants")
    listing.add_argument("--state", choices=_STATES, help="those in one state")
    mapping = actions.add_parser("map", help="give the people of a domain or organisation to a tenant")
    mapping.add_argument("source", metavar="SOURCE", help="a domain, or PROVIDER:ID")
    unmap = actions.add_parser("unmap", help="take a mapping back")
    unmap.add_argument("source", metavar="SOURCE")
    suspend = actions.add_parser("suspend", help="answer its people 403, on every server within a second")
    resume = actions.add_parser("resume", help="serve a suspended tenant again")
    for action in (mapping, suspend, resume):
        action.add_argument("tenant", metavar="TENANT")


def _configure_data(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = actions.add_parser("export", help="write a tenant to a file that import restores")
    export.add_argument("--to", metavar="FILE", help="a new file, or - (default: ./TENANT-TIME.tenant.zip)")
    restore = actions.add_parser("import", help="make a tenant from such a file")
    restore.add_argument("file", metavar="FILE", type=Path)
    restore.add_argument("--as", dest="tenant", metavar="TENANT", help="under another name")
    restore.add_argument("--database", metavar="DSN_ID", default="main", help="where it is to live (default: main)")
    drop = actions.add_parser("drop", help="export a tenant and remove everything of it")
    drop.add_argument("--confirm", metavar="TENANT", help="its id again, instead of the question")
    how = drop.add_mutually_exclusive_group()
    how.add_argument("--to", metavar="FILE", type=Path, help="where to export (default: ./TENANT-TIME.tenant.zip)")
    how.add_argument("--no-export", action="store_true", help="its data is lost")
    check = actions.add_parser("check", help="prove role, rights, schema and version of tenants")
    check.add_argument("tenants", metavar="TENANT", nargs="*", help="which (default: all)")
    check.add_argument("--all", action="store_true", help="all tenants, the default")
    check.add_argument("--repair", action="store_true", help="mend what may be mended")
    move = actions.add_parser("move", help="take a tenant to another database")
    what = move.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="DSN_ID", help="which; again after a move that was stopped")
    what.add_argument("--cancel", action="store_true", help="undo a move that was stopped")
    what.add_argument("--purge", action="store_true", help="remove the copy that a move has left behind")
    for action in (export, drop, move):
        action.add_argument("tenant", metavar="TENANT")


def run(arguments: argparse.Namespace) -> int:
    from .actions import run as act

    return act(arguments)
