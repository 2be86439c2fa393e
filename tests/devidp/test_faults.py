from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from tenantry.core.keys import parse_key_set
from tenantry.devidp import DevIdp
from tenantry.devidp.faults import MAKERS, rate_limited, slow

pytestmark = pytest.mark.anyio

CERTS = "/oauth2/v3/certs"


async def test_slow_holds_the_right_answer_until_it_is_released(idp: DevIdp, client: httpx.AsyncClient) -> None:
    fault = idp.faults.set("google", slow(60))
    asking = asyncio.create_task(client.get(CERTS))
    await idp.calls.reached(1, "google", "certs")
    assert not asking.done()
    fault.release.set()
    assert len((await asking).json()["keys"]) == 2


async def test_clearing_releases_what_is_held(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "slow")
    asking = asyncio.create_task(client.get(CERTS))
    await idp.calls.reached(1)
    idp.faults.clear()
    assert (await asking).status_code == 200


async def test_slow_ends_by_itself(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "slow", seconds=0.01)
    assert (await client.get(CERTS)).status_code == 200


async def test_a_drip_is_the_right_answer_in_single_bytes(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "drip", seconds=0)
    async with client.stream("GET", CERTS) as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert len(chunks) > 10
    assert b"".join(chunks).startswith(b'{"keys":[{')


async def test_a_drip_ends_when_the_caller_hangs_up(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "drip", seconds=3600)
    async with client.stream("GET", CERTS) as answer:
        assert await anext(answer.aiter_raw()) == b"{"


async def test_no_key_of_the_unusable_ones_is_usable(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "unusable_keys")
    document = (await client.get(CERTS)).json()
    assert len(document["keys"]) == 3
    with pytest.raises(ValueError, match="no usable key"):
        parse_key_set(document)


async def test_a_caller_that_hangs_up_is_answered_by_nobody(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "slow")
    with pytest.raises(httpx.ReadTimeout):
        await client.get(CERTS, timeout=0.05)
    assert [call.status for call in idp.calls] == [None]


@pytest.mark.parametrize(
    ("kind", "options", "status", "content_type", "start"),
    [
        ("error", {}, 500, "text/html", "<!doctype"),
        ("status", {"code": 503, "retry_after": 7}, 503, "text/plain", "status 503"),
        ("html", {}, 200, "text/html", "<!doctype"),
        ("wrong_content_type", {}, 200, "text/plain", '{"keys":[{'),
        ("empty_keys", {}, 200, "application/json", '{"keys":[]}'),
        ("not_json", {}, 200, "application/json", '{"keys": [upstream'),
    ],
)
async def test_a_fault_answers_as_its_name_says(
    idp: DevIdp,
    client: httpx.AsyncClient,
    kind: str,
    options: dict[str, int],
    status: int,
    content_type: str,
    start: str,
) -> None:
    idp.faults.set("google", kind, **options)
    answer = await client.get(CERTS)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.startswith(start)


async def test_a_redirect_names_a_place_that_records_who_follows(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "redirect")
    assert (await client.get(CERTS)).status_code == 302
    assert idp.calls.count("devidp") == 0
    await client.get(CERTS, follow_redirects=True)
    assert idp.calls.count("devidp", "redirected") == 1


async def test_reset_really_resets_the_connection(idp: DevIdp) -> None:
    idp.faults.set("google", "reset")
    host, port = idp.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {CERTS} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_truncated_really_ends_the_body_early(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await client.get(CERTS)


async def test_huge_is_json_without_a_content_length(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "huge", size=200_000)
    answer = await client.get(CERTS)
    assert "content-length" not in answer.headers
    assert len(answer.json()["padding"]) == 200_000


async def test_google_and_auth0_say_429_when_limited(idp: DevIdp, client: httpx.AsyncClient) -> None:
    for provider, path in (("google", CERTS), ("auth0", "/.well-known/jwks.json")):
        idp.faults.set(provider, rate_limited(30))
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


async def test_github_says_403_when_limited_in_two_ways(idp: DevIdp, client: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {idp.github.token('octo')}"}
    idp.faults.set("github", rate_limited(30))
    primary = await client.get("/user", headers=headers)
    assert (primary.status_code, primary.headers["x-ratelimit-remaining"]) == (403, "0")
    assert "retry-after" not in primary.headers
    idp.faults.set("github", rate_limited(30, secondary=True, code=429))
    secondary = await client.get("/user", headers=headers)
    assert (secondary.status_code, secondary.headers["retry-after"]) == (429, "30")
    assert "secondary rate limit" in secondary.json()["message"]


async def test_a_fault_can_be_of_one_endpoint_and_last_for_some_calls(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "error", endpoint="certs", times=2)
    assert (await client.get("/google/.well-known/openid-configuration")).status_code == 200
    assert [(await client.get(CERTS)).status_code for _ in range(3)] == [500, 500, 200]


async def test_a_fault_can_last_for_a_block(idp: DevIdp, client: httpx.AsyncClient) -> None:
    with idp.faults.during("google", "error"):
        assert (await client.get(CERTS)).status_code == 500
    assert (await client.get(CERTS)).status_code == 200


async def test_ok_heals(idp: DevIdp, client: httpx.AsyncClient) -> None:
    idp.faults.set("google", "error")
    idp.faults.set("google", "ok")
    assert (await client.get(CERTS)).status_code == 200


async def test_a_mistyped_fault_provider_or_endpoint_is_an_error(idp: DevIdp) -> None:
    with pytest.raises(LookupError, match="no fault is called"):
        idp.faults.set("google", "eror")
    with pytest.raises(LookupError, match="no provider is called"):
        idp.faults.set("gogle", "error")
    with pytest.raises(LookupError, match="no endpoint of google is called"):
        idp.faults.set("google", "error", endpoint="jwks")


@pytest.mark.parametrize("kind", [*MAKERS])
async def test_a_faulty_call_is_recorded_and_the_next_one_is_well(
    idp: DevIdp, client: httpx.AsyncClient, kind: str
) -> None:
    options = {"slow": {"seconds": 0.01}, "drip": {"seconds": 0}, "status": {"code": 418}}.get(kind, {})
    idp.faults.set("google", kind, times=1, **options)
    with contextlib.suppress(httpx.TransportError):
        await client.get(CERTS)
    assert (await client.get(CERTS)).status_code == 200
    assert idp.calls.count("google", "certs") == 2
