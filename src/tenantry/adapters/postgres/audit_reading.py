"""The audit in PostgreSQL as ``tenantry audit`` reads it: the operator's table and those of all tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ..audit.chain import Head, Seal
from ..audit.reading import Query, Wanted
from ..audit.verify import Finding, Verification
from . import registry
from .audit_keys import DatabaseKeys
from .audit_rows import OPERATOR, mac, table_of
from .names import Deployment, Names
from .statements import identifier, render
from .tenants import MAIN

if TYPE_CHECKING:
    from .database import Database

_LOOKED_AT = ("active", "suspended")


class DatabaseTrail:
    """``seal``: what the rows were sealed with."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database, self._seal = database, seal
        self._keys = DatabaseKeys(database)

    async def keys(self) -> Mapping[str, bytes]:
        return await self._keys.every()

    async def erase(self, user_id: str, actor: str) -> bool:
        """Drop a user's key; false when there is none. The audit says that somebody was erased, and not who."""
        main = self._database.clusters[MAIN]
        deployment = await self._database.registry.deployment()
        async with main.administering() as connection, connection.transaction():
            status = await connection.execute("DELETE FROM tenantry.audit_keys WHERE user_id = $1", user_id)
            if status == "DELETE 0":
                return False
            await registry.audit(connection, deployment, actor, "user.erased", user_id.partition(":")[0])
            return True

    # --- Searching --------------------------------------------------------------------------------------------------

    async def newest(self, query: Query, wanted: Wanted, limit: int) -> list[str]:
        """The newest rows that are wanted, the oldest of them first."""
        found: list[tuple[Any, str]] = []
        for dsn_id, names in await self._places(query):
            cluster, ready = await self._database.provisioner.cluster(dsn_id)
            async with cluster.administering() as connection, connection.transaction(readonly=True):
                if names is not None:
                    await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
                    if not await _there(connection, names):
                        continue
                (text,) = render("audit_search", table=table_of(names))
                users = None if wanted.users is None else list(wanted.users)
                tenant = query.tenant if names is None else None
                rows = await connection.fetch(text, query.since, query.until, query.events, users, tenant, limit)
                found += [(row["at"], row["line"]) for row in rows]
        found.sort(key=lambda pair: pair[0])
        return [line for _, line in found[-limit:]]

    async def _places(self, query: Query) -> list[tuple[str, Names | None]]:
        entries = [entry for entry in await self._database.registry.all() if entry.state in _LOOKED_AT]
        return [
            (MAIN, None),
            *(
                (entry.dsn_id, entry.names)
                for entry in entries
                if query.tenant in (None, entry.names.tenant_id) and entry.dsn_id in self._database.clusters
            ),
        ]

    # --- Verifying --------------------------------------------------------------------------------------------------

    async def verify(self) -> tuple[int, list[Finding], list[str]]:
        """Rows looked at, what is wrong, and what else there is to say."""
        everybody = await self._database.registry.all()
        done: list[Verification] = []
        for dsn_id in self._database.clusters:
            cluster, ready = await self._database.provisioner.cluster(dsn_id)
            entries = {entry.names.tenant_id: entry for entry in everybody if entry.state in _LOOKED_AT}
            here = {tenant_id: entry.names for tenant_id, entry in entries.items() if entry.dsn_id == dsn_id}
            elsewhere = {entry.names.tenant_id for entry in everybody} - here.keys()
            async with (
                cluster.administering() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                places: Mapping[str, Names | None] = {OPERATOR: None, **here}
                looking = self._verified(connection, ready.deployment, dsn_id, places, elsewhere)
                done.extend([each async for each in looking])
        findings = [finding for each in done for finding in each.findings]
        return sum(each.rows for each in done), findings, [note for each in done for note in each.notes]

    async def _verified(
        self,
        connection: Any,
        deployment: Deployment,
        dsn_id: str,
        places: Mapping[str, Names | None],
        elsewhere: set[str],
    ) -> AsyncIterator[Verification]:
        heads: dict[str, dict[str, Head]] = {}
        about = Verification(self._seal, f"database {dsn_id}, the heads")
        for row in await connection.fetch("SELECT writer, place, seq, hash, mac FROM tenantry.audit_heads"):
            head = Head(row["seq"], row["hash"])
            if row["mac"] != mac(self._seal, row["writer"], row["place"], head):
                problem = "has been changed in the heads, or sealed with another key"
                about.findings.append(Finding(about.place, row["writer"], row["seq"], problem))
            if row["place"] in places:
                heads.setdefault(row["place"], {})[row["writer"]] = head
            elif row["place"] not in elsewhere:
                problem = f"has written for tenant {row['place']}, which is not there"
                about.findings.append(Finding(about.place, row["writer"], None, problem))
        unsealed = await connection.fetchval("SELECT count(*) FROM tenantry.audit_unsealed")
        if unsealed:
            about.notes.append(f"{about.place}: {unsealed} acts of a printed script are not in the chain yet")
        yield about
        for place, names in places.items():
            where = f"database {dsn_id}, {'the operator' if names is None else f'tenant {place}'}"
            yield await self._table(
                connection, deployment, names, Verification(self._seal, where, heads.get(place, {}), strict=True)
            )

    async def _table(
        self, connection: Any, deployment: Deployment, names: Names | None, checking: Verification
    ) -> Verification:
        if names is not None:
            await connection.execute(f"SET LOCAL ROLE {identifier(deployment.owner)}")
        if names is None or await _there(connection, names):
            (text,) = render("audit_rows", table=table_of(names))
            async for record in connection.cursor(text, prefetch=1000):
                _check_columns(record, checking)
        if names is not None:
            await connection.execute("SET LOCAL ROLE NONE")
        checking.finish()
        return checking


async def _there(connection: Any, names: Names) -> bool:
    """Whether the tenant has a table of the audit; its owner asks."""
    there: bool = await connection.fetchval("SELECT pg_catalog.to_regclass($1) IS NOT NULL", table_of(names))
    return there


def _check_columns(record: Any, checking: Verification) -> None:
    """What rows are looked up by must be what they say."""
    place = f"row {record['seq']} of writer {record['writer']}"
    row = checking.add(record["line"], place)
    if row is None:
        checking.findings.append(Finding(checking.place, record["writer"], record["seq"], "is no row any more"))
        return
    said = row.members
    same = (
        said.get("writer") == record["writer"]
        and said.get("seq") == record["seq"]
        and said.get("event") == record["event"]
        and said.get("user") == record["user_id"]
        and said.get("at") == record["at"].isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
    if not same:
        checking.findings.append(
            Finding(checking.place, record["writer"], record["seq"], "is kept under something else than it says")
        )
