"""What the composed PostgreSQL runs once, run once: two logins, of which one may make roles and the other nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml
from anyio.from_thread import BlockingPortal
from tests.postgres.servers import rewritten

from tenantry.postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
PASSWORDS = {"postgres_admin_password": "p'w \\one", "postgres_app_password": 'p"w $two'}


def test_the_composed_logins_are_what_tenancy_asks_for(portal: BlockingPortal, tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed (Debian: postgresql-client)")
    (postgres,) = (
        service for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()
        if name == "postgres"
    )  # fmt: skip
    assert set(PASSWORDS) <= set(postgres["secrets"])
    for name, password in PASSWORDS.items():
        (tmp_path / name).write_text(f"{password}\n")
    script = tmp_path / "logins.sql"
    # The one thing that is not as in the container: where it mounts secrets.
    text = (ROOT / "deploy/postgres/logins.sql").read_text().replace("/run/secrets", str(tmp_path))
    script.write_text(text.replace("tenantry_", "composed_"))  # the embedded server has the names already
    with portal.wrap_async_context_manager(EmbeddedPostgres()) as server:
        portal.call(_run, server.dsn, "create database composed")
        dsn = rewritten(server.dsn, database="composed")
        # As the image does: docker-entrypoint.sh of docker-library/postgres.
        command = [psql, "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--dbname", dsn, "--file", script]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert portal.call(_rights, dsn) == {
            "composed_admin": (True, False, True),
            "composed_app": (False, False, False),
        }


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def _rights(dsn: str) -> dict[str, tuple[bool, bool, bool]]:
    """Of each login, which must get in with its password: may it make roles, is it a superuser, does it own this."""
    address = urlsplit(dsn)
    found = {}
    for name, password in (("composed_admin", "postgres_admin_password"), ("composed_app", "postgres_app_password")):
        connection = await asyncpg.connect(
            host=address.hostname, port=address.port, database="composed", user=name, password=PASSWORDS[password]
        )
        row = await connection.fetchrow(
            "select rolcreaterole, rolsuper, pg_get_userbyid(datdba) = current_user from pg_roles, pg_database "
            "where rolname = current_user and datname = current_database()"
        )
        found[name] = tuple(row)
        await connection.close()
    return found
