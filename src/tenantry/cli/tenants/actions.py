"""What each action of ``tenantry tenants`` does and says: results on standard output, sentences on standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...adapters.postgres.administration import checks, exports, lifecycle, moving, removal
from ...adapters.postgres.database import Database
from ...adapters.postgres.registry import Entry
from ...core.tenancy import encode_domain, organization_tenant_id, tenant_rules
from ...errors import ConfigurationError
from ...settings import Settings
from ..database import actor, with_database
from ..words import iso, say, table

OK, WRONG = 0, 1
_COLUMNS = ("TENANT", "SOURCE", "DATABASE", "LOGIN", "VERSION", "STATE", "CREATED", "LAST SEEN")


def run(arguments: argparse.Namespace) -> int:
    work = _ACTIONS[arguments.action]
    return with_database(lambda database: work(database, arguments))


# --- Life -------------------------------------------------------------------------------------------------------------


async def _create(database: Database, arguments: argparse.Namespace) -> int:
    source, derived = _source_of(arguments)
    tenant_id = arguments.tenant or derived
    if tenant_id is None:
        raise ConfigurationError("No tenant: give its id, or --domain.")
    entry, made = await lifecycle.create(database, tenant_id, source=source, dsn_id=arguments.database, actor=actor())
    _result(arguments, {"made": made, **_members(entry)})
    say(f"Tenant {tenant_id} has been made." if made else f"Tenant {tenant_id} is there already ({entry.state}).")
    if made and source is not None and tenant_id != derived:
        say(f"Who comes from {source} does not get there by that: `tenantry tenants map {source} {tenant_id}`.")
    return OK


def _source_of(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """The source and the id that follows from it."""
    if arguments.domain is not None:
        domain = lifecycle.checked_source(arguments.domain)
        if ":" in domain:
            raise ConfigurationError(f"{domain!r} is not a domain: use --organization.")
        return domain, encode_domain(domain)
    if arguments.organization is not None:
        source = lifecycle.checked_source(arguments.organization)
        provider, colon, organization = source.partition(":")
        if not colon:
            raise ConfigurationError(f"{source!r} is not an organisation: write <provider>:<its id>, or use --domain.")
        return source, organization_tenant_id(provider, organization)
    return None, None


async def _list(database: Database, arguments: argparse.Namespace) -> int:
    found = await database.registry.all()
    entries = [entry for entry in found if arguments.state in (None, entry.state)]
    if arguments.json:
        print(json.dumps({"tenants": [_members(entry) for entry in entries]}, indent=2))
    elif entries:
        newest = database.provisioner.migrations.newest
        print(table([_COLUMNS, *(_cells(entry, newest) for entry in entries)]))
    else:
        say("No tenants.")
    return OK


async def _map(database: Database, arguments: argparse.Namespace) -> int:
    configured = tenant_rules(Settings().tenant_mapping or {}, "isolate", ()).mapping
    mapped = await lifecycle.map_source(database, arguments.source, arguments.tenant, configured, actor=actor())
    _result(arguments, {"tenant_id": mapped.tenant_id, "added": list(mapped.added)})
    for source in mapped.added:
        say(f"{source} leads to tenant {mapped.tenant_id}.")
    if not mapped.added:
        say(f"{arguments.source} leads to tenant {mapped.tenant_id} already.")
    return OK


async def _unmap(database: Database, arguments: argparse.Namespace) -> int:
    tenant_id = await lifecycle.unmap(database, arguments.source, actor=actor())
    _result(arguments, {"source": arguments.source, "tenant_id": tenant_id})
    was = "was not mapped" if tenant_id is None else f"no longer leads to tenant {tenant_id}"
    say(f"{arguments.source} {was}.")
    return OK


async def _suspend(database: Database, arguments: argparse.Namespace) -> int:
    changed = await lifecycle.suspend(database, arguments.tenant, actor=actor())
    return _said(arguments, changed, "has been suspended", "was suspended already")


async def _resume(database: Database, arguments: argparse.Namespace) -> int:
    changed = await lifecycle.resume(database, arguments.tenant, actor=actor())
    return _said(arguments, changed, "is served again", "is served already")


# --- Data -------------------------------------------------------------------------------------------------------------


async def _export(database: Database, arguments: argparse.Namespace) -> int:
    if arguments.to == "-":
        if arguments.json:
            raise ConfigurationError("--json and --to - would both go to standard output: choose one.")
        manifest = await exports.export(database, arguments.tenant, sys.stdout.buffer, actor=actor())
        say(f"Tenant {arguments.tenant} has been exported: {_amount(manifest.proofs)}.")
        return OK
    path = Path(arguments.to) if arguments.to else _default_file(arguments.tenant)
    manifest = await exports.export(database, arguments.tenant, path, actor=actor())
    _result(arguments, {"tenant_id": arguments.tenant, "file": str(path), "tables": _tables(manifest.proofs)})
    say(f"Tenant {arguments.tenant} has been exported to {path}: {_amount(manifest.proofs)}.")
    return OK


async def _import(database: Database, arguments: argparse.Namespace) -> int:
    manifest = await exports.restore(
        database, arguments.file, tenant_id=arguments.tenant, dsn_id=arguments.database, actor=actor()
    )
    tenant_id = arguments.tenant or manifest.tenant_id
    _result(arguments, {"tenant_id": tenant_id, "tables": _tables(manifest.proofs)})
    say(f"Tenant {tenant_id} has been restored: {_amount(manifest.proofs)}, each table proved.")
    return OK


async def _drop(database: Database, arguments: argparse.Namespace) -> int:
    entry = await lifecycle.existing(database, arguments.tenant)
    _confirm(arguments, entry)
    path = None if arguments.no_export else arguments.to or _default_file(arguments.tenant)
    dropped = await removal.drop(database, arguments.tenant, export_to=path, actor=actor())
    exported = None if dropped.exported is None else str(dropped.exported)
    counts = {"mappings": dropped.mappings, "keys": dropped.keys}
    _result(arguments, {"tenant_id": arguments.tenant, "exported": exported, **counts})
    kept = f"It is in {exported}." if exported else "There is no export of it by this command."
    say(f"Tenant {arguments.tenant} has been dropped, with {dropped.mappings} mappings and {dropped.keys} keys. {kept}")
    return OK


def _confirm(arguments: argparse.Namespace, entry: Entry) -> None:
    """Raises ``ConfigurationError`` unless the tenant's id is said again."""
    again = arguments.confirm
    if again is None:
        print(f"Everything of tenant {entry.names.tenant_id} will be removed. Its id again: ", end="", file=sys.stderr)
        sys.stderr.flush()
        again = sys.stdin.readline().strip()
    if again != entry.names.tenant_id:
        raise ConfigurationError("That is not the tenant's id: nothing has been dropped.")


async def _check(database: Database, arguments: argparse.Namespace) -> int:
    report = await checks.check(database, arguments.tenants or None, repair=arguments.repair, actor=actor())
    if arguments.json:
        findings = [finding.members() for finding in report.findings]
        print(json.dumps({"tenants": report.tenants, "findings": findings}, indent=2))
    else:
        for finding in report.findings:
            print(finding)
    left = sum(not finding.repaired for finding in report.findings)
    say(f"{report.tenants} tenants checked: {len(report.findings) - left} findings repaired, {left} left.")
    return WRONG if left else OK


async def _move(database: Database, arguments: argparse.Namespace) -> int:
    tenant_id = arguments.tenant
    if arguments.purge:
        purged = await removal.purge(database, tenant_id, actor=actor())
        _result(arguments, {"tenant_id": tenant_id, "purged": purged})
        say(f"Removed from: {', '.join(purged)}." if purged else f"No other database has a copy of {tenant_id}.")
        return OK
    if arguments.cancel:
        undone = await moving.cancel(database, tenant_id, actor=actor())
        return _said(arguments, undone, "is served again where it was", "was not being moved")
    moved = await moving.move(database, tenant_id, arguments.to, actor=actor())
    proofs = {} if moved is None else _tables(moved.proofs)
    _result(arguments, {"tenant_id": tenant_id, "database": arguments.to, "moved": moved is not None, "tables": proofs})
    if moved is None:
        say(f"Tenant {tenant_id} lives in {arguments.to} already.")
    else:
        say(
            f"Tenant {tenant_id} has moved from {moved.before} to {moved.after}: {_amount(moved.proofs)}, the same on "
            f"both sides. The old copy is closed and kept: `tenantry tenants move {tenant_id} --purge` removes it."
        )
    return OK


_ACTIONS: dict[str, Callable[[Database, argparse.Namespace], Awaitable[int]]] = {
    "create": _create,
    "list": _list,
    "map": _map,
    "unmap": _unmap,
    "suspend": _suspend,
    "resume": _resume,
    "export": _export,
    "import": _import,
    "drop": _drop,
    "check": _check,
    "move": _move,
}


# --- Saying it --------------------------------------------------------------------------------------------------------


def _members(entry: Entry) -> dict[str, Any]:
    return {
        "tenant_id": entry.names.tenant_id,
        "source": entry.source,
        "schema": entry.names.schema,
        "role": entry.names.role,
        "database": entry.dsn_id,
        "bucket": entry.bucket,
        "version": entry.version,
        "state": entry.state,
        "created_at": iso(entry.created_at),
        "last_seen_at": iso(entry.last_seen_at),
    }


def _cells(entry: Entry, newest: int) -> tuple[str, ...]:
    return (
        entry.names.tenant_id,
        entry.source or "-",
        entry.dsn_id,
        str(entry.bucket),
        f"{entry.version}/{newest}",
        entry.state,
        iso(entry.created_at) or "-",
        iso(entry.last_seen_at) or "never",
    )


def _tables(proofs: Any) -> dict[str, dict[str, Any]]:
    return {name: {"rows": rows, "checksum": checksum} for name, (rows, checksum) in proofs.items()}


def _amount(proofs: Any) -> str:
    return f"{sum(rows for rows, _ in proofs.values())} rows of {len(proofs)} tables"


def _default_file(tenant_id: str) -> Path:
    return Path(f"{tenant_id}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tenant.zip")


def _said(arguments: argparse.Namespace, changed: bool, done: str, before: str) -> int:
    _result(arguments, {"tenant_id": arguments.tenant, "changed": changed})
    say(f"Tenant {arguments.tenant} {done if changed else before}.")
    return OK


def _result(arguments: argparse.Namespace, members: dict[str, Any]) -> None:
    if arguments.json:
        print(json.dumps(members, indent=2))
