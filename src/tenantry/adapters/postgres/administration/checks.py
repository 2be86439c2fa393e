"""Proof, from the catalogs, that the wall around every tenant stands; and its repair.

A few queries over all tenants, not dozens for each: 10,000 tenants are checked in seconds. What is looked for is in
``sql/check_*.sql``, what is said of it in ``findings.py``. Repairs are run one by one, and then everything is looked at
again: only what is gone then counts as repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ....core.tenancy import opaque_schema_name, role_name
from ....errors import ConfigurationError
from .. import history
from ..cluster import Cluster, Ready
from ..control import inspect, lock
from ..database import Database
from ..names import Names
from ..registry import Entry, audit
from ..statements import identifier, load
from ..tenants import MAIN
from .findings import Finding
from .lifecycle import checked_tenant_id

_SETTLED = ("active", "suspended")


@dataclass(frozen=True, slots=True)
class Report:
    """``tenants``: how many were looked at."""

    tenants: int
    findings: list[Finding]


async def check(database: Database, tenant_ids: Sequence[str] | None, *, repair: bool = False, actor: str) -> Report:
    """Look at some tenants, or at all and at what they share. Raises ``ConfigurationError`` for a tenant that is not
    there, ``Unavailable``."""
    chosen = None if tenant_ids is None else {checked_tenant_id(one) for one in tenant_ids}
    report = await _look(database, chosen)
    if not (repair and report.findings):
        return report
    await _repair(database, report.findings)
    left = await _look(database, chosen)
    keys = {finding.key for finding in left.findings}
    for finding in report.findings:
        finding.repaired = finding.key not in keys
    before = {finding.key for finding in report.findings}
    report.findings.extend(finding for finding in left.findings if finding.key not in before)
    deployment = await database.registry.deployment()
    async with database.clusters[MAIN].administering() as connection:
        for finding in report.findings:
            if finding.repaired:
                subject = finding.tenant_id or finding.database
                await audit(connection, deployment, actor, "finding.repaired", subject, finding.members())
    return report


async def _look(database: Database, chosen: set[str] | None) -> Report:
    entries = await database.registry.all()
    looked_at = [entry for entry in entries if chosen is None or entry.names.tenant_id in chosen]
    if chosen is not None and len(looked_at) < len(chosen):
        missing = sorted(chosen - {entry.names.tenant_id for entry in looked_at})
        raise ConfigurationError(f"There is no tenant {missing[0]!r}: `tenantry tenants list` says which there are.")
    deployment = await database.registry.deployment()
    findings: list[Finding] = []
    for entry in looked_at:
        findings += _of_entry(database, entry, deployment.names(entry.names.tenant_id, opaque=False))
    for dsn_id, cluster in database.clusters.items():
        _, ready = await database.provisioner.cluster(dsn_id)
        here = [entry for entry in looked_at if entry.dsn_id == dsn_id]
        async with cluster.administering() as connection, connection.transaction(readonly=True):
            await connection.execute("SET LOCAL search_path=pg_catalog,pg_temp")  # names are written in full
            looking = _Looking(connection, cluster, ready, here)
            findings += await looking.tenants()
            if chosen is None:
                findings += await looking.shared(entries)
                findings += await looking.migrations(database)
    return Report(len(looked_at), findings)


def _of_entry(database: Database, entry: Entry, readable: Names) -> Iterable[Finding]:
    """What the registry's line alone shows."""
    tenant_id, migrations = entry.names.tenant_id, database.provisioner.migrations

    def found(problem: str, detail: str = "") -> Finding:
        return Finding(problem, entry.dsn_id, tenant_id, {"detail": detail})

    if entry.dsn_id not in database.clusters:
        yield found("database_unknown", repr(entry.dsn_id))
    if entry.state not in _SETTLED:
        yield found("unfinished", {"creating": "made", "moving": "moved", "dropping": "dropped"}[entry.state])
    elif entry.version > migrations.newest:
        yield found("version", str(entry.version))
    elif entry.version < migrations.minimum:
        yield found("behind", f"{entry.version} of {migrations.minimum}")
    if entry.names not in _possible(readable):
        yield found("names")


def _possible(readable: Names) -> Iterable[Names]:
    """The names of one tenant: MCP_HTTP_SCHEMA_NAMES may have been another when it was made."""
    digits = readable.role.split("_")[1]
    schema = opaque_schema_name(readable.tenant_id)
    return readable, Names(readable.tenant_id, schema, role_name(schema, digits))


class _Looking:
    """The catalogs of one database, for the tenants that live there."""

    def __init__(self, connection: Any, cluster: Cluster, ready: Ready, entries: Sequence[Entry]) -> None:
        self._connection, self._cluster, self._ready = connection, cluster, ready
        self._entries = entries
        settled = [entry for entry in entries if entry.state in _SETTLED]
        self._of_role = {entry.names.role: entry for entry in settled}
        self._of_schema = {entry.names.schema: entry for entry in settled}
        self._schemas = [entry.names.schema for entry in settled]
        self._roles = [entry.names.role for entry in settled]
        self._logins = [ready.logins.of(entry.bucket).login for entry in settled]

    async def tenants(self) -> list[Finding]:
        """What is wrong with each of them."""
        deployment = self._ready.deployment
        rows = await self._connection.fetch(
            load("check_roles"), self._roles, self._logins, deployment.mark, deployment.untrusted
        )
        findings = [self._about(self._of_role[row["role"]], row["problem"], row["detail"]) for row in rows]
        rows = await self._connection.fetch(load("check_schemas"), self._schemas, self._roles, deployment.owner)
        findings += [self._about(self._of_schema[row["schema"]], row["problem"], row["detail"]) for row in rows]
        rows = await self._connection.fetch(load("check_contents"), self._schemas, self._roles, deployment.owner)
        for row in rows:
            entry = self._of_schema[row["schema"]]
            findings.append(self._about(entry, row["problem"], row["detail"], kind=row["kind"], name=row["name"]))
        for row in await self._connection.fetch(load("schema_dependents"), self._schemas):
            findings.append(
                self._about(self._of_schema[row["schema"]], "dependent", row["dependent"], name=row["used"])
            )
        if self._cluster.dsn_id != MAIN:
            findings += await self._lines()
        return findings

    async def _lines(self) -> list[Finding]:
        """Whether a further database says the same of its tenants as the registry."""
        versions = {row["tenant_id"]: row["version"] for row in await self._connection.fetch(load("tenants_here"))}
        findings = []
        for entry in self._of_schema.values():
            version = versions.get(entry.names.tenant_id)
            if version is None:
                findings.append(self._about(entry, "not_here"))
            elif version != entry.version:
                findings.append(self._about(entry, "version_differs", f"{entry.version} and {version}"))
        return findings

    async def shared(self, everybody: Sequence[Entry]) -> list[Finding]:
        """What is wrong with what tenants share. ``everybody``: the tenants of all databases, whose roles may be on
        this server too."""
        deployment = self._ready.deployment
        services = [deployment.owner, deployment.rest, deployment.untrusted]
        roles = [entry.names.role for entry in everybody]
        here = [entry.names.schema for entry in everybody if entry.dsn_id == self._cluster.dsn_id]
        logins = sorted({*self._logins, self._ready.logins.of(0).login})
        rows = await self._connection.fetch(load("check_logins"), logins, [*roles, deployment.rest], deployment.mark)
        findings = [self._of_all(row["problem"], row["detail"], role=identifier(row["role"])) for row in rows]
        begins = deployment.login(0).removesuffix("000")
        rows = await self._connection.fetch(
            load("check_database"), here, [*roles, *services], deployment.mark, deployment.owner, begins, services[1:]
        )
        findings += [self._of_all(row["problem"], row["detail"]) for row in rows]
        if not (await inspect(self._connection)).hardened:
            findings.append(self._of_all("database_open"))
        return findings

    async def migrations(self, database: Database) -> list[Finding]:
        """Whether the files are those that the tenants here have had."""
        try:
            await history.check(self._connection, database.provisioner.migrations)
        except ConfigurationError as error:
            return [self._of_all("migrations", str(error).rstrip("."))]
        return []

    def _about(self, entry: Entry, problem: str, detail: str | None = None, **more: str) -> Finding:
        words = {
            "role": identifier(entry.names.role),
            "schema": identifier(entry.names.schema),
            "login": identifier(self._ready.logins.of(entry.bucket).login),
            "owner": identifier(self._ready.deployment.owner),
            "detail": detail or "",
            **more,
        }
        return Finding(problem, entry.dsn_id, entry.names.tenant_id, words)

    def _of_all(self, problem: str, detail: str | None = None, **more: str) -> Finding:
        words = {"owner": identifier(self._ready.deployment.owner), "detail": detail or "", **more}
        return Finding(problem, self._cluster.dsn_id, None, words)


# --- Repair -----------------------------------------------------------------------------------------------------------


async def _repair(database: Database, findings: Sequence[Finding]) -> None:
    """Try every mend there is; what does not help is found again."""
    groups: dict[tuple[str, str | None], list[Finding]] = {}
    for finding in findings:
        if finding.known.mender != "nobody":
            groups.setdefault((finding.database, finding.tenant_id), []).append(finding)
    for (dsn_id, tenant_id), group in groups.items():
        cluster, ready = await database.provisioner.cluster(dsn_id)
        async with cluster.administering() as connection, connection.transaction():
            entry = None if tenant_id is None else await database.registry.find(tenant_id)
            if entry is not None:
                await lock(connection, entry.names.schema)
            for finding in group:
                await _mend(connection, ready, finding)
            if entry is not None and entry.state in _SETTLED:
                await _make_anew(connection, database, ready, entry)


async def _mend(connection: Any, ready: Ready, finding: Finding) -> None:
    if finding.statement is None:
        return
    try:
        async with connection.transaction():
            if finding.known.mender == "owner":
                await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
            await connection.execute(finding.statement)
    except asyncpg.PostgresError:  # a right that we lack, mostly: the finding stays, with its mend
        pass
    await connection.execute("SET LOCAL ROLE NONE")


async def _make_anew(connection: Any, database: Database, ready: Ready, entry: Entry) -> None:
    """The role, its one membership and its grants, as when the tenant was made."""
    try:
        async with connection.transaction():
            await database.provisioner.ensure_roles(connection, ready, entry.names, entry.bucket)
            await database.provisioner.apply(connection, ready.deployment, entry.names, ())
    except (asyncpg.PostgresError, ConfigurationError):  # somebody else's role, or rights that we lack
        pass
    await connection.execute("SET LOCAL ROLE NONE")
