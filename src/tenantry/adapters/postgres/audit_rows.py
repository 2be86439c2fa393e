"""Rows of the audit in PostgreSQL: in the operator's table, and in each tenant's own, which its role may read only.

Rows and heads are written in one transaction, so either both are there or neither. Every function is part of the
caller's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..audit.chain import GENESIS, START, Chain, Head, Seal, parted
from ..audit.events import Event, Moments, member
from .names import Deployment, Names
from .statements import identifier, load, render

OPERATOR = ""  # the place that is no tenant's
TABLE = "tenantry_audit"
ACTS = "acts"  # the writer of what operators do: not one process, so its head is locked until the transaction ends
_OPERATORS_TABLE = "tenantry.audit"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def table_of(names: Names | None) -> str:
    """A tenant's own table, or the operator's, as SQL writes its name."""
    return _OPERATORS_TABLE if names is None else f"{identifier(names.schema)}.{TABLE}"


def moment(at: int) -> datetime:
    """From microseconds since the epoch, exactly."""
    return _EPOCH + timedelta(microseconds=at)


async def ensure_table(connection: Any, names: Names) -> None:
    """A tenant's table, unless it is there. The connection acts as the schema's owner."""
    for statement in render("audit_tenant", schema=identifier(names.schema), role=identifier(names.role)):
        await connection.execute(statement)


async def heads_of(connection: Any, writer: str, places: Sequence[str]) -> dict[str, Head]:
    """Where a writer has got to; locked."""
    rows = await connection.fetch(load("audit_heads"), writer, list(places))
    return {row["place"]: Head(row["seq"], row["hash"]) for row in rows}


async def confirm(connection: Any, seal: Seal, heads: Mapping[tuple[str, str], Head]) -> None:
    """Write where writers have got to, by writer and place."""
    macs = [mac(seal, writer, place, head) for (writer, place), head in heads.items()]
    writers, places = [writer for writer, _ in heads], [place for _, place in heads]
    numbers, hashes = [str(head.seq) for head in heads.values()], [head.hash for head in heads.values()]
    await connection.execute(load("audit_confirm"), writers, places, numbers, hashes, macs)


def mac(seal: Seal, writer: str, place: str, head: Head) -> str:
    """What shows that a head is what was written."""
    return seal.head(json.dumps([writer, place, *head]).encode())


async def add(
    connection: Any, names: Names | None, writer: str, first: int, events: Sequence[Event], lines: Sequence[str]
) -> None:
    """Insert rows, of which the first has that number. For a tenant's table the connection acts as its owner."""
    (query,) = render("audit_add", table=table_of(names))
    await connection.execute(
        query,
        writer,
        [str(number) for number in range(first, first + len(lines))],
        [moment(event.at).isoformat() for event in events],
        [event.event for event in events],
        [None if names else event.tenant for event in events],
        [event.user for event in events],
        list(lines),
    )


async def write_act(
    connection: Any, deployment: Deployment, actor: str, event: str, subject: str, detail: Mapping[str, Any] | None
) -> None:
    """Append what an operator did. Whoever else is about to waits until the transaction ends."""
    seal = Seal(deployment.audit_key)
    writer = ACTS if seal.fingerprint is None else f"{ACTS}-{seal.fingerprint}"
    async with connection.transaction():
        head = await _acts_head(connection, seal, writer)
        left = sorted(await connection.fetch(load("audit_unsealed_take")), key=lambda row: int(row["id"]))
        events = [
            _act(f"{writer}-{number}", row["at"], row["actor"], row["event"], row["subject"], None)
            for number, row in enumerate(left, head.seq + 1)
        ]
        number = f"{writer}-{head.seq + len(left) + 1}"
        events.append(_act(number, datetime.now(UTC), actor, event, subject, detail))
        lines, last = Chain(writer, "operator", seal).rows(head, [each.body for each in events])
        await add(connection, None, writer, head.seq + 1, events, lines)
        await confirm(connection, seal, {(writer, OPERATOR): last})


async def _acts_head(connection: Any, seal: Seal, writer: str) -> Head:
    known = await heads_of(connection, writer, [OPERATOR])
    if not known:
        await connection.execute(load("audit_begin"), writer, GENESIS, mac(seal, writer, OPERATOR, START))
        known = await heads_of(connection, writer, [OPERATOR])
    return known[OPERATOR]


def _act(number: str, at: datetime, actor: str, event: str, subject: str, detail: Mapping[str, Any] | None) -> Event:
    exact = (at - _EPOCH) // timedelta(microseconds=1)
    tenant = _tenant_of(event, subject, detail)
    text = None if detail is None else json.dumps(detail, sort_keys=True)
    body = f'"id":"{number}","at":"{Moments().text(exact)}",{member("event", event)[1:]}{member("tenant", tenant)}'
    body += f"{member('actor', actor)}{member('subject', subject, 1024)}{member('detail', text, 4096)}"
    return Event(body, exact, event, tenant, None)


def _tenant_of(event: str, subject: str, detail: Mapping[str, Any] | None) -> str | None:
    """The tenant that an act was about, where it was about one."""
    said = detail or {}
    if event.startswith("tenant.") and event != "tenant.migrated":
        return subject
    found = said.get("tenant_id") or said.get("tenant")
    return found if isinstance(found, str) else None


# --- When a tenant's table travels ------------------------------------------------------------------------------------


async def carry_heads(source: Any, target: Any, tenant_id: str) -> None:
    """Take the heads of a tenant's table along to where it has been copied to."""
    rows = await source.fetch("SELECT writer, seq, hash, mac FROM tenantry.audit_heads WHERE place = $1", tenant_id)
    await forget_heads(target, tenant_id)
    columns = [[str(row[name]) for row in rows] for name in ("writer", "seq", "hash", "mac")]
    await target.execute(load("audit_confirm"), columns[0], [tenant_id] * len(rows), *columns[1:])


async def adopt_heads(connection: Any, deployment: Deployment, names: Names) -> None:
    """Take what is in a tenant's table as what was written: it came from an archive, which has proofs of its own."""
    (query,) = render("audit_last", table=table_of(names))
    await connection.execute(f"SET LOCAL ROLE {identifier(deployment.owner)}")
    rows = await connection.fetch(query)
    await connection.execute("SET LOCAL ROLE NONE")
    await forget_heads(connection, names.tenant_id)
    found = {(row["writer"], names.tenant_id): (row["seq"], parted(row["line"])) for row in rows}
    heads = {key: Head(seq, parts[1]) for key, (seq, parts) in found.items() if parts is not None}
    await confirm(connection, Seal(deployment.audit_key), heads)


async def forget_heads(connection: Any, tenant_id: str) -> None:
    """The tenant's table is gone."""
    await connection.execute("DELETE FROM tenantry.audit_heads WHERE place = $1", tenant_id)
