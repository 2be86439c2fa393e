"""The quota store on a real Redis or Valkey that crashes, hangs, forgets and is misconfigured: nobody waits for it, and
it is used again by itself. What it lets through is the contract's to say (``tests/contracts``)."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.redis_server import RedisServer, free_port

from tenantry.adapters import quota_rounds
from tenantry.adapters.redis_quotas import RedisQuotaStore
from tenantry.core.quota import Charge, Quota, Standing
from tenantry.errors import ConfigurationError, Unavailable

pytestmark = pytest.mark.anyio

TEN = Quota(10, 86_400.0)
LARGE = Quota(1_000_000, 86_400.0)
DEADLINE = 20.0
OURS = b"tenantry:{quota}:*"


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with RedisServer() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to connect more often than a deployment does."""
    monkeypatch.setattr(quota_rounds, "_PAUSE_SECONDS", 0.05)


@pytest.fixture
async def make(server: RedisServer) -> AsyncIterator[Callable[..., RedisQuotaStore]]:
    made: list[RedisQuotaStore] = []

    def one(url: str = server.url, patience: float = DEADLINE) -> RedisQuotaStore:
        made.append(RedisQuotaStore(url, patience=patience))
        return made[-1]

    yield one
    for store in made:
        await store.aclose()


@pytest.fixture
def store(make: Callable[..., RedisQuotaStore]) -> RedisQuotaStore:
    return make()


async def charged(store: RedisQuotaStore, key: str = "a", quota: Quota = LARGE, weight: int = 1) -> Standing:
    return (await store.spend([Charge(key, quota, weight)]))[0]


async def problem_of(store: RedisQuotaStore, key: str = "a") -> str | None:
    """What keeps it from answering."""
    try:
        await charged(store, key)
    except Unavailable as refusal:
        return refusal.detail if refusal.reason == "quota_unavailable" else refusal.reason
    return None


async def until(store: RedisQuotaStore, *, answers: bool) -> None:
    async with asyncio.timeout(DEADLINE):
        while (await problem_of(store) is None) is not answers:
            await asyncio.sleep(0.005)


# --- Trouble ----------------------------------------------------------------------------------------------------------


async def test_a_server_that_crashes_is_used_again_when_it_is_back(
    store: RedisQuotaStore, server: RedisServer, impatient: None
) -> None:
    await charged(store)
    for _ in range(2):
        server.kill()
        assert await problem_of(store) is not None
        await server.start()
        await until(store, answers=True)


async def test_a_server_that_is_not_there_yet_is_used_when_it_comes(
    store: RedisQuotaStore, server: RedisServer, impatient: None
) -> None:
    server.kill()
    assert await problem_of(store) == "ConnectionError"
    await server.start()
    await until(store, answers=True)


async def test_all_who_wait_for_a_server_that_is_gone_hear_of_it(store: RedisQuotaStore, server: RedisServer) -> None:
    server.kill()
    problems = await asyncio.gather(*(problem_of(store, str(number)) for number in range(100)))
    assert None not in problems


async def test_between_two_attempts_to_connect_nobody_waits(store: RedisQuotaStore, server: RedisServer) -> None:
    server.kill()
    assert await problem_of(store) is not None
    with pytest.raises(Unavailable):
        store.spend([Charge("a", LARGE)]).send(None)  # without one turn of the event loop


async def test_a_server_that_hangs_keeps_nobody_waiting_and_is_used_again(
    make: Callable[..., RedisQuotaStore], server: RedisServer, impatient: None
) -> None:
    store = make(patience=0.1)
    await until(store, answers=True)
    server.freeze()
    try:
        assert await problem_of(store) == "TimeoutError"
        async with asyncio.timeout(DEADLINE):
            while await problem_of(store) != "connecting":
                pass
        with pytest.raises(Unavailable):
            store.spend([Charge("a", LARGE)]).send(None)
    finally:
        server.thaw()
    await until(store, answers=True)


async def test_a_connection_that_was_ended_while_idle_costs_nobody_anything(
    store: RedisQuotaStore, server: RedisServer
) -> None:
    async with server.client() as client:
        for taken in range(1, 6):
            assert (await charged(store, "a", TEN))[:2] == (0.0, 10 - taken)
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_a_server_that_forgot_the_script_is_told_again(store: RedisQuotaStore, server: RedisServer) -> None:
    async with server.client() as client:
        for taken in range(1, 4):
            await client.script_flush()
            assert (await charged(store, "a", TEN)).remaining == 10 - taken


async def test_a_server_that_only_reads_is_unavailable(store: RedisQuotaStore, server: RedisServer) -> None:
    async with server.client() as client:
        await client.replicaof("127.0.0.1", "1")
        assert await problem_of(store) is not None
        await client.replicaof("NO", "ONE")
    await until(store, answers=True)


async def test_what_another_program_left_at_our_key_is_a_failure_and_no_pass(
    store: RedisQuotaStore, server: RedisServer
) -> None:
    await charged(store)
    async with server.client() as client:
        (key,) = await client.keys(OURS)
        await client.delete(key)
        await client.lpush(key, "x")
        assert await problem_of(store) is not None
        await client.delete(key)
    await until(store, answers=True)


async def test_callers_who_leave_at_any_moment_leave_nothing_behind(
    store: RedisQuotaStore, server: RedisServer
) -> None:
    for turns in range(12):
        leaving = [asyncio.create_task(charged(store, f"{turns}:{number}")) for number in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    answers = await asyncio.gather(*(charged(store, "a", TEN) for _ in range(100)))
    assert [answer.wait for answer in answers].count(0.0) == 10
    async with server.client() as client:
        others = [one for one in await client.client_list() if one["cmd"] != "client|list"]
    assert len(others) <= quota_rounds.LINKS


async def test_an_idle_connection_is_closed(
    store: RedisQuotaStore, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_rounds, "_IDLE_SECONDS", 0.02)
    await charged(store)
    async with server.client() as client, asyncio.timeout(DEADLINE):
        while len(await client.client_list()) > 1:
            await asyncio.sleep(0.005)
    assert (await charged(store)).wait == 0.0


# --- What is kept there -----------------------------------------------------------------------------------------------


async def test_keys_end_by_themselves_when_their_bucket_is_full_again(
    store: RedisQuotaStore, server: RedisServer
) -> None:
    await charged(store, "slow", TEN)
    async with server.client() as client:
        (key,) = await client.keys(OURS)
        assert 0 < await client.pttl(key) <= TEN.window / TEN.limit * 1000 + 1
        await charged(store, "quick", Quota(10, 0.05), 10)
        async with asyncio.timeout(DEADLINE):
            while await client.keys(OURS) != [key]:
                await asyncio.sleep(0.005)


async def test_neither_users_nor_addresses_are_written_there(store: RedisQuotaStore, server: RedisServer) -> None:
    await store.spend([Charge("user:google:123456789", TEN), Charge("address:192.0.2.7", TEN)])
    async with server.client() as client:
        kept = b"".join([key + await client.get(key) for key in await client.keys()])
    assert kept.count(b"tenantry:{quota}:") == 2
    assert b"google" not in kept
    assert b"192.0.2" not in kept


async def test_a_clock_that_was_set_back_by_an_hour_blocks_nobody_for_an_hour(
    store: RedisQuotaStore, server: RedisServer
) -> None:
    quick = Quota(5, 0.5)
    async with server.client() as client:
        await charged(store, "a", Quota(5, 3600.0), 5)
        (key,) = await client.keys(OURS)
        used, at = (await client.get(key)).split()
        await client.set(key, used + b" %d" % (int(at) + 3_600_000_000))
    async with asyncio.timeout(DEADLINE):
        while (standing := await charged(store, "a", quick)).wait:
            assert standing.wait <= quick.window
            await asyncio.sleep(0.01)


async def test_refusals_are_answered_without_the_server(store: RedisQuotaStore, server: RedisServer) -> None:
    await charged(store, "a", TEN, 8)
    refused = await charged(store, "a", TEN, 3)
    server.kill()
    again = await charged(store, "a", TEN, 3)
    assert 0 < again.wait < refused.wait
    assert again.remaining == 2
    with pytest.raises(Unavailable):
        await charged(store, "a", TEN, 2)  # which may pass


async def test_one_that_is_a_cluster_of_its_own_is_used_as_well(impatient: None) -> None:
    async with RedisServer(cluster_enabled="yes", cluster_port=free_port()) as server:
        async with server.client() as client:
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        store = RedisQuotaStore(server.url, patience=DEADLINE)
        await until(store, answers=True)
        standings = await store.spend([Charge(f"bucket:{number}", TEN) for number in range(20)])
        assert [standing.remaining for standing in standings] == [9] * 20
        await store.aclose()


# --- Ways in ----------------------------------------------------------------------------------------------------------


def certificate(home: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, signed by itself."""
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (home / "cert.pem").write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    (home / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return home / "cert.pem", home / "key.pem"


async def test_tls_is_for_a_server_that_proves_itself(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    port = free_port()
    async with RedisServer(tls_port=port, tls_cert_file=cert, tls_key_file=key, tls_auth_clients="no") as server:
        url = server.url.replace("redis://", "rediss://").replace(str(server.port), str(port))
        known = RedisQuotaStore(f"{url}?ssl_ca_certs={cert}", patience=DEADLINE)
        unknown = RedisQuotaStore(url, patience=DEADLINE)
        assert await problem_of(known) is None
        assert await problem_of(unknown) is not None
        await known.aclose()
        await unknown.aclose()


@pytest.mark.parametrize("wrong", ["redis://:not-the-pass-word@127.0.0.1:{}/0", "redis://127.0.0.1:{}/0"])
async def test_a_server_that_does_not_let_us_in_is_unavailable(
    make: Callable[..., RedisQuotaStore], server: RedisServer, wrong: str
) -> None:
    problem = await problem_of(make(wrong.format(server.port)))
    assert problem is not None
    assert "Error" in problem


async def test_the_password_is_in_no_error_and_no_log(
    make: Callable[..., RedisQuotaStore], server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "not-the-pass-word"
    store = make(server.url.replace(server.password, secret))
    with pytest.raises(Unavailable) as refused:
        await charged(store)
    server.kill()
    with pytest.raises(Unavailable) as gone:
        await charged(make(server.url.replace(server.password, secret)))
    said = "".join(
        "".join(traceback.format_exception(each.value)) + str(each.value.__dict__) for each in (refused, gone)
    )
    assert secret not in said + caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://",
        "127.0.0.1:6379",
        "http://u:pass-word@127.0.0.1:6379",
        "redis://u:pass-word@127.0.0.1:port",
        "redis://u:pass-word@127.0.0.1:6379/zero",
        "redis://u:pass-word@127.0.0.1:6379/0?ssl_cert_reqs=none",
        "rediss://u:pass-word@127.0.0.1:6379/0?ssl_check_hostname=false",
        "rediss://u:pass-word@127.0.0.1:6379/0?nothing",
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_REDIS_URL") as refused:
        RedisQuotaStore(url)
    assert "pass-word" not in "".join(traceback.format_exception(refused.value))


_WITHOUT = """
import sys
sys.modules["redis"] = None
import tenantry
from tenantry.adapters.redis_quotas import RedisQuotaStore
try:
    RedisQuotaStore("redis://127.0.0.1:6379/0")
except tenantry.ConfigurationError as error:
    print(error)
"""


def test_without_the_client_s_package_the_error_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True, timeout=60)
    assert "MCP_HTTP_RATE_LIMIT_STORE=redis" in done.stdout
    assert "extra redis" in done.stdout


async def test_a_socket_of_the_file_system_is_a_way_in(tmp_path: Path) -> None:
    async with RedisServer(unixsocket=tmp_path / "s") as server:
        store = RedisQuotaStore(f"unix://:{server.password}@{tmp_path}/s?db=0", patience=DEADLINE)
        assert (await charged(store, "a", TEN)).remaining == 9
        await store.aclose()
