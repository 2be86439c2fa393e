"""Brings every tenant to a version of the application's migrations: what ``tenantry migrate`` runs.

    prepare the databases, and compare the files with what was applied
    ten tenants in one transaction, each under the lock that making it takes
    where that fails: each of the ten alone, so that one stops only itself
    what is busy: again after a while, and in the end left behind

A tenant's version is written in the transaction that brings it there, so a kill at any point leaves whole tenants,
and the next run goes on. Several runs at once share the work: what one holds, another leaves for later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from ....errors import ConfigurationError, Refusal, Unavailable
from .. import history, registry
from ..cluster import Cluster, Ready, make_login
from ..migrations import Phase
from ..registry import Entry
from ..tenants import MAIN
from .batches import LEFT_ALONE, Batch, Worker

if TYPE_CHECKING:
    from ..database import Database

# What a transaction has changed stays locked until it ends: with 50 tenants in one, live requests waited 14-93 ms.
_TOGETHER = 10
# After each batch, as a share of the time it took: requests need the machine as well, and wait for locks behind each
# other. Measured with bench/tenants.py.
_REST = 1.5
# A waiting ALTER TABLE makes everybody wait who comes after it; in a batch, those of nine other tenants too.
_PATIENCE, _PATIENCE_ALONE = "100ms", "1s"
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before what was busy is tried again
_HOPELESS = 10  # failures, and nobody who ever succeeded: it is the migration
_NO_ROLES = (
    "The database login {login!r} may not make roles, and tenants are behind: set DIRECT_DATABASE_URL to a login that "
    "may, or let an administrator run what `tenantry migrate --script --tenant ...` prints."
)
_BUSY = "busy: somebody else kept it locked"
_NOT_TRIED = f"not tried: the first {_HOPELESS} failed"
_AGAIN = (Unavailable, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_FAILED = (asyncpg.PostgresError, ConfigurationError, Refusal)


@dataclass(frozen=True, slots=True)
class Progress:
    """Tenants so far, of ``total``. ``rate``: tenants a second; ``seconds_left``: None while that cannot be told."""

    migrated: int
    left_behind: int
    total: int
    rate: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``version``: where tenants were to get; ``migrated``: how many this run brought there, or found there since it
    began. ``skipped``: tenant id to the state for which it was not touched; ``left_behind``: to the reason."""

    version: int
    migrated: int
    skipped: Mapping[str, str]
    left_behind: Mapping[str, str]
    seconds: float


Report = Callable[[Progress], None]


async def migrate(
    database: Database,
    *,
    phase: Phase = "post",
    tenants: Sequence[str] | None = None,
    workers: int = 2,
    pauses: Sequence[float] = PAUSES,
    actor: str = "migrate",
    report: Report | None = None,
) -> Outcome:
    """Prepare all databases and bring ``tenants`` (ids; all by default) to the version of ``phase``.

    ``workers``: batches at a time; ``pauses``: seconds before each new try of what was busy. ``report`` is called after
    each batch. Raises ``ConfigurationError`` for files that are not those applied before, an unknown tenant or a
    missing right, and ``Unavailable``; tenants done by then stay so.
    """
    await prepare(database)
    version = database.provisioner.migrations.up_to(phase)
    everybody = await database.registry.all()
    entries = behind(named(everybody, tenants), version)
    run = _Run(database, version, sum(entry.state not in LEFT_ALONE for entry in entries), report)
    run.proven = any(entry.version >= version for entry in everybody)
    for dsn_id in sorted({entry.dsn_id for entry in entries}):
        await run.bring([entry for entry in entries if entry.dsn_id == dsn_id], dsn_id, workers, pauses)
    outcome = run.outcome()
    if outcome.migrated or outcome.left_behind:
        detail = {"migrated": outcome.migrated, "left_behind": len(outcome.left_behind)}
        # Told to everybody: who remembers that a tenant is unknown may be wrong now, where one has been completed.
        async with database.clusters[MAIN].administering() as connection, connection.transaction():
            deployment = await database.registry.deployment()
            await registry.announce(connection, deployment, actor, "tenant.migrated", f"version {version}", detail)
    return outcome


async def prepare(database: Database) -> None:
    """Make what every database needs once, and the logins with the passwords that follow from the present secret.

    Raises as ``migrate``, also for changed files: before any tenant is touched.
    """
    for dsn_id in database.clusters:
        cluster, ready = await database.provisioner.cluster(dsn_id)
        async with cluster.administering() as connection:
            await history.check(connection, database.provisioner.migrations)
            used = await connection.fetch("SELECT DISTINCT bucket FROM tenantry.tenants WHERE dsn_id = $1", dsn_id)
            for bucket in sorted(row["bucket"] for row in used):
                if ready.logins.is_ours(bucket) and not await _lets_in(cluster, ready, bucket):
                    await make_login(connection, ready.logins, bucket, ready.login.server_version)


async def _lets_in(cluster: Cluster, ready: Ready, bucket: int) -> bool:
    """Asked first: a new verifier for the same password would shut out a pooler that remembers the old one."""
    try:
        connection = await cluster.log_in(ready.logins.of(bucket), statement_cache_size=0)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError):
        return False
    await connection.close()
    return True


def named(entries: Sequence[Entry], tenants: Sequence[str] | None) -> list[Entry]:
    """Those of ``tenants``, or all. Raises ``ConfigurationError`` for one that is not there."""
    if tenants is None:
        return list(entries)
    known = {entry.names.tenant_id: entry for entry in entries}
    for tenant_id in tenants:
        if tenant_id not in known:
            raise ConfigurationError(f"There is no tenant {tenant_id!r}: `tenantry tenants list` shows all.")
    return [known[tenant_id] for tenant_id in dict.fromkeys(tenants)]


def behind(entries: Iterable[Entry], version: int) -> list[Entry]:
    """Those that lack something: migrations, or the end of being made."""
    return [entry for entry in entries if entry.version < version or entry.state == "creating"]


class _Run:
    """One run over all databases, and what has become of the tenants so far."""

    def __init__(self, database: Database, version: int, total: int, report: Report | None) -> None:
        self._provisioner, self._version, self._total, self._tell = database.provisioner, version, total, report
        self.proven = False  # somebody has this version, so what fails is not the migration
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._migrated = 0
        self._skipped: dict[str, str] = {}
        self._left_behind: dict[str, str] = {}
        self._busy: list[Entry] = []

    def outcome(self) -> Outcome:
        return Outcome(self._version, self._migrated, self._skipped, self._left_behind, self._now() - self._began)

    async def bring(self, entries: Sequence[Entry], dsn_id: str, workers: int, pauses: Sequence[float]) -> None:
        """Those of one database."""
        cluster, ready = await self._provisioner.cluster(dsn_id)
        if not ready.login.may_make_roles:
            raise ConfigurationError(_NO_ROLES.format(login=ready.login.name))
        whole = [entry for entry in entries if entry.state in ("active", "suspended")]
        batches = [whole[at : at + _TOGETHER] for at in range(0, len(whole), _TOGETHER)]
        for pause in (0.0, *pauses):
            await asyncio.sleep(pause)
            await self._pass(lambda: Worker(self._provisioner, cluster, ready, self._version), batches, workers)
            batches, self._busy = [[entry] for entry in self._busy], []
            if not batches:
                break
        self._left_behind |= {entry.names.tenant_id: _BUSY for (entry,) in batches}
        for entry in entries:
            if entry.state == "creating":
                await self._complete(entry)
            elif entry.state in LEFT_ALONE:
                self._skipped[entry.names.tenant_id] = entry.state
        self._report()

    async def _complete(self, entry: Entry) -> None:
        """Whoever was making it still is, or was stopped."""
        try:
            await self._provisioner.make(entry.names.tenant_id)
            self._migrated += 1
        except _FAILED as error:
            self._left_behind[entry.names.tenant_id] = _reason(error)

    async def _pass(self, worker: Callable[[], Worker], batches: Sequence[Sequence[Entry]], workers: int) -> None:
        waiting = iter(batches)
        await _all_of(self._work(worker(), waiting) for _ in range(min(workers, len(batches))))
        for batch in waiting:
            self._left_behind |= {entry.names.tenant_id: _NOT_TRIED for entry in batch}

    async def _work(self, worker: Worker, waiting: Iterator[Sequence[Entry]]) -> None:
        try:
            while self.proven or self._migrated or len(self._left_behind) < _HOPELESS:
                batch = next(waiting, None)
                if batch is None:
                    return
                began = self._now()
                if len(batch) == 1 or not await self._together(worker, batch):
                    for entry in batch:
                        await self._alone(worker, entry)
                self._report()
                await asyncio.sleep(_REST * (self._now() - began))
        finally:
            await worker.close()

    async def _together(self, worker: Worker, entries: Sequence[Entry]) -> bool:
        """Whether they could be done in one transaction."""
        await _connect(worker)
        try:
            self._count(await worker.bring(entries, _PATIENCE))
        except _FAILED:
            return False
        return True

    async def _alone(self, worker: Worker, entry: Entry) -> None:
        await _connect(worker)
        try:
            self._count(await worker.bring([entry], _PATIENCE_ALONE))
        except _AGAIN:
            self._busy.append(entry)
        except _FAILED as error:
            self._left_behind[entry.names.tenant_id] = _reason(error)

    def _count(self, batch: Batch) -> None:
        self._migrated += batch.migrated
        self._busy += batch.held
        self._skipped |= batch.skipped

    def _report(self) -> None:
        if self._tell is None:
            return
        finished = self._migrated + len(self._left_behind)
        rate = finished / max(self._now() - self._began, 0.001)
        left = max(self._total - finished, 0) / rate if rate else None
        self._tell(Progress(self._migrated, len(self._left_behind), self._total, rate, left))


async def _connect(worker: Worker) -> None:
    """A server that restarts is back after a while."""
    for pause in (*PAUSES, None):
        try:
            await worker.connect()
        except Unavailable:
            if pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            return


async def _all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Until all have ended; one that raises ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def _reason(error: BaseException) -> str:
    """Without DETAIL, which may quote a tenant's rows."""
    if isinstance(error, Refusal):
        return error.detail or error.hint or error.description
    notes = getattr(error, "__notes__", [])
    return f"{error.args[0]}{''.join(f' ({note})' for note in notes)}"
