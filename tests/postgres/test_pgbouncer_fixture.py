"""The PgBouncer that other tests stand on is a real one: it shares server connections, lets in whom PostgreSQL lets in,
and is never left behind.
"""

# ruff: noqa: ASYNC220, ASYNC240 - a test has its loop to itself

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.postgres.pgbouncer import PgBouncer
from tests.postgres.servers import gone, rewritten

pytestmark = pytest.mark.anyio

# Starts a PgBouncer, says which process and folder it is, and stays until it is killed.
CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.postgres.pgbouncer import PgBouncer
async def main():
    async with PgBouncer(os.environ["SERVER"], program=Path(sys.argv[1])) as bouncer:
        print(bouncer.pid, bouncer._home, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


@asynccontextmanager
async def client(dsn: str, **options: object):
    """Without a statement cache: an old PgBouncer in transaction mode loses prepared statements."""
    connection = await asyncpg.connect(dsn, **{"statement_cache_size": 0, **options})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def login(root):
    """Make a login that may connect and nothing else; gone afterwards."""
    made: list[str] = []

    async def make(name: str, password: str) -> None:
        await root.execute(f"create role {name} login noinherit password '{password}'")
        made.append(name)

    yield make
    for name in made:
        await root.execute(f"drop role {name}")


async def test_two_clients_share_a_server_connection(make_bouncer, dsns):
    async with (
        make_bouncer(pool_size=1) as bouncer,
        client(bouncer.dsn(dsns.app)) as one,
        client(bouncer.dsn(dsns.app)) as other,
    ):
        assert await one.fetchval("select pg_backend_pid()") == await other.fetchval("select pg_backend_pid()")


async def test_a_session_setting_leaks_to_the_other_client(make_bouncer, dsns):
    async with (
        make_bouncer(pool_size=1) as bouncer,
        client(bouncer.dsn(dsns.app)) as one,
        client(bouncer.dsn(dsns.app)) as other,
    ):
        await one.execute("set search_path = somebody_elses")
        assert await other.fetchval("show search_path") == "somebody_elses"


async def test_two_transactions_at_a_time_have_a_server_connection_each(bouncer, bounced_dsns):
    async with (
        client(bounced_dsns.app) as one,
        client(bounced_dsns.app) as other,
        one.transaction(),
        other.transaction(),
    ):
        assert await one.fetchval("select pg_backend_pid()") != await other.fetchval("select pg_backend_pid()")


async def test_prepared_statements_follow_the_client_where_it_says_so(make_bouncer, dsns):
    async with make_bouncer(pool_size=2) as bouncer:
        dsn = bouncer.dsn(dsns.app)
        async with client(dsn, statement_cache_size=100) as one, client(dsn) as other:
            statement = await one.prepare("select pg_backend_pid()")
            here = await statement.fetchval()
            async with other.transaction():  # takes the server connection that was given back last
                assert await other.fetchval("select pg_backend_pid()") == here
                if bouncer.keeps_prepared_statements:
                    assert await statement.fetchval() != here
                else:
                    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
                        await statement.fetchval()


async def test_the_connection_strings_lead_where_they_say(bouncer, bounced_dsns, dsns):
    assert urlsplit(bounced_dsns.app).port == bouncer.port
    assert (bounced_dsns.admin, bounced_dsns.superuser) == (dsns.admin, dsns.superuser)
    for bounced, direct in ((bounced_dsns.app, dsns.app), (bouncer.dsn(dsns.admin), dsns.admin)):
        async with client(bounced) as through, client(direct) as straight:
            who = "select session_user::text, current_database()::text"
            assert await through.fetchrow(who) == await straight.fetchrow(who)


async def test_a_connection_string_of_another_server_is_refused(bouncer, dsns):
    with pytest.raises(ValueError, match="another server"):
        bouncer.dsn(rewritten(dsns.app, address="127.0.0.1:1"))


async def test_a_login_made_later_logs_in_with_its_own_password_only(bouncer, bounced_dsns, login, numbers):
    name = f"late_{next(numbers)}"
    await login(name, "the made-up password")
    dsn = rewritten(bounced_dsns.app, login=f"{name}:the%20made-up%20password")
    async with client(dsn) as connection:
        assert await connection.fetchval("select session_user::text") == name
    for wrong in (f"{name}:another", f"nobody_{name}:the%20made-up%20password"):
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(rewritten(dsn, login=wrong))


async def test_a_changed_password_counts_at_once(bouncer, bounced_dsns, root, login, numbers):
    name = f"changed_{next(numbers)}"
    await login(name, "before")
    async with client(rewritten(bounced_dsns.app, login=f"{name}:before")) as connection:
        await connection.fetchval("select 1")
    await root.execute(f"alter role {name} password 'after'")
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(rewritten(bounced_dsns.app, login=f"{name}:before"))
    async with client(rewritten(bounced_dsns.app, login=f"{name}:after")) as connection:
        assert await connection.fetchval("select session_user::text") == name


async def test_a_role_as_a_startup_parameter_is_refused(bouncer, bounced_dsns):
    with pytest.raises(asyncpg.PostgresError, match="unsupported startup parameter"):
        await asyncpg.connect(bounced_dsns.app, server_settings={"role": "none"})


async def test_it_listens_on_one_loopback_address(bouncer):
    with socket.create_connection(("127.0.0.1", bouncer.port), timeout=20):
        pass
    with pytest.raises(OSError, match=r"refused|assign"):  # on Linux the whole of 127.0.0.0/8 is this machine
        socket.create_connection(("127.0.0.2", bouncer.port), timeout=20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it under another account")
async def test_under_root_it_runs_under_another_account(bouncer):
    assert Path(f"/proc/{bouncer.pid}").stat().st_uid != 0


async def test_nothing_is_left_after_the_block(make_bouncer, dsns):
    async with make_bouncer() as bouncer:
        pid, home = bouncer.pid, bouncer._home
        connection = await asyncpg.connect(bouncer.dsn(dsns.app))
        assert home.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not home.exists()
    with pytest.raises((OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)):
        await connection.fetchval("select 1")
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncpg.connect(bouncer.dsn(dsns.app))


async def test_nothing_is_left_of_one_whose_owner_was_killed(server, pgbouncer):
    owner = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(pgbouncer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SERVER": server.dsn},
    )
    with owner:
        pid, home = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
    assert await gone(int(pid))
    assert not Path(home).exists()


async def test_a_setting_it_does_not_know_is_told_with_its_own_words(server, pgbouncer):
    with pytest.raises(RuntimeError, match=r"did not start: .*no_such_setting"):
        async with PgBouncer(server.dsn, program=pgbouncer, no_such_setting=1):
            pass
