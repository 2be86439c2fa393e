"""ports.Fetch: what every way of asking a provider does, the real ones over a socket and the fake without one."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.faults.stage import no_names, untrusted_server

from tenantry.adapters.http import HttpFetch, http_library
from tenantry.devidp import serve_on_loopback
from tenantry.devidp.loopback import connection_of
from tenantry.ports import Fetch, FetchFailed, HttpRequest, HttpResponse
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio

SIZE = 1000


class Origin:
    """A server with one path for each thing that can happen, and its twin in ``FakeFetch``."""

    def __init__(self) -> None:
        self.base = ""
        self.seen: list[Request] = []
        self.stuck = asyncio.Event()
        self.hosts: set[tuple[str, int]] = set()

    def app(self) -> Any:
        return Starlette(
            routes=[
                Route(f"/{name}", self._recording(answer), methods=["GET", "POST"])
                for name, answer in self.ways.items()
            ]
        )

    def _recording(self, answer: Callable[[Request], Any]) -> Any:
        async def endpoint(request: Request) -> Response:
            await request.body()
            self.seen.append(request)
            self.hosts.add(tuple(request.client or ()))  # type: ignore[arg-type]
            made = answer(request)
            response: Response = await made if asyncio.iscoroutine(made) else made
            return response

        return endpoint

    @property
    def ways(self) -> dict[str, Callable[[Request], Any]]:
        return {
            "status": lambda r: Response("body", int(r.query_params["code"]), {"X-Mixed-Case": "kept As Is"}),
            "redirect": lambda r: RedirectResponse("/landed", 302),
            "landed": lambda r: Response("landed"),
            "exact": lambda r: Response(b"x" * SIZE),
            "large": lambda r: Response(b"x" * (SIZE + 1)),
            "endless": self._endless,
            "trickle": self._trickle,
            "stuck": self._stuck,
            "reset": self._reset,
            "truncated": self._truncated,
            "gzip": lambda r: Response(gzip.compress(b"x" * 10_000_000), headers={"content-encoding": "gzip"}),
            "cookie": lambda r: Response("", headers={"set-cookie": "session=of-the-first-caller; Path=/"}),
        }

    async def _endless(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100
                await asyncio.sleep(0)

        return StreamingResponse(body())

    async def _trickle(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)

        return StreamingResponse(body())

    async def _stuck(self, request: Request) -> Response:
        self.stuck.set()
        await asyncio.Event().wait()
        return Response()

    async def _reset(self, request: Request) -> Response:
        connection_of(request.scope).reset()
        await asyncio.Event().wait()
        return Response()

    async def _truncated(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            connection_of(request.scope).close()
            await asyncio.Event().wait()

        return StreamingResponse(body(), headers={"content-length": "100"})

    def fake(self) -> FakeFetch:
        """The same ways without a socket; failures are said rather than made."""

        def status(request: HttpRequest) -> HttpResponse:
            return HttpResponse(int(request.url.rpartition("=")[2]), {"x-mixed-case": "kept As Is"}, b"body")

        answers: dict[str, Any] = {
            "status": status,
            "redirect": HttpResponse(302, {"location": "/landed"}, b""),
            "landed": HttpResponse(200, {}, b"landed"),
            "exact": HttpResponse(200, {}, b"x" * SIZE),
            "large": HttpResponse(200, {}, b"x" * (SIZE + 1)),
            "endless": HttpResponse(200, {}, b"x" * 10_000),
            "trickle": FetchFailed("timeout"),
            "stuck": FetchFailed("timeout"),
            "reset": FetchFailed("protocol"),
            "truncated": FetchFailed("protocol"),
        }
        return FakeFetch({f"{self.base}/{name}": answer for name, answer in answers.items()})


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    async with serve_on_loopback(origin.app(), lifespan="off", grace=0.01) as base:
        origin.base = base
        yield origin


@pytest.fixture(params=["httpx", "httpx2", "fake"])
async def fetch(
    request: pytest.FixtureRequest, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fetch]:
    if request.param == "fake":
        yield origin.fake()
        return
    async with real(request.param, monkeypatch) as made:
        yield made


@pytest.fixture(params=["httpx", "httpx2", "fake"])
async def impatient(
    request: pytest.FixtureRequest, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fetch]:
    """With a deadline that a test can wait for."""
    if request.param == "fake":
        yield origin.fake()
        return
    async with real(request.param, monkeypatch, deadline=0.1) as made:
        yield made


class real:  # noqa: N801 - reads as a function
    """``HttpFetch`` on one of its two libraries."""

    def __init__(self, library: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        if library == "httpx":
            monkeypatch.setitem(sys.modules, "httpx2", None)
        else:
            pytest.importorskip("httpx2")
        self.fetch = HttpFetch(**({"allow_loopback_http": True} | options))
        self.library = http_library().__name__
        assert self.library == library

    async def __aenter__(self) -> HttpFetch:
        return self.fetch

    async def __aexit__(self, *_: object) -> None:
        await self.fetch.aclose()


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def failure(fetch: Fetch, url: str, **options: Any) -> str:
    with pytest.raises(FetchFailed) as caught:
        await fetch(HttpRequest("GET", url, **options))
    return caught.value.kind


# Real and fake alike


@pytest.mark.parametrize("code", [200, 201, 204, 304, 400, 401, 403, 404, 422, 429, 500, 503])
async def test_every_status_is_an_answer(fetch: Fetch, origin: Origin, code: int) -> None:
    response = await fetch(HttpRequest("GET", f"{origin.base}/status?code={code}"))
    assert response.status == code
    assert response.headers["x-mixed-case"] == "kept As Is"
    if code not in {204, 304}:
        assert response.body == b"body"


async def test_a_redirect_is_an_answer_and_is_not_followed(fetch: Fetch, origin: Origin) -> None:
    response = await fetch(HttpRequest("GET", f"{origin.base}/redirect"))
    assert (response.status, response.headers["location"]) == (302, "/landed")
    assert [request.url.path for request in origin.seen if request.url.path == "/landed"] == []


async def test_a_body_of_the_largest_size_is_whole_and_one_more_byte_is_too_large(fetch: Fetch, origin: Origin) -> None:
    exact = await fetch(HttpRequest("GET", f"{origin.base}/exact", max_bytes=SIZE))
    assert len(exact.body) == SIZE
    assert await failure(fetch, f"{origin.base}/large", max_bytes=SIZE) == "too_large"


async def test_a_body_that_does_not_say_how_long_it_is_is_cut_off(fetch: Fetch, origin: Origin) -> None:
    assert await failure(fetch, f"{origin.base}/endless", max_bytes=SIZE) == "too_large"


async def test_an_answer_that_does_not_come_is_a_timeout(impatient: Fetch, origin: Origin) -> None:
    assert await failure(impatient, f"{origin.base}/stuck") == "timeout"


async def test_the_deadline_is_for_the_whole_body(impatient: Fetch, origin: Origin) -> None:
    assert await failure(impatient, f"{origin.base}/trickle") == "timeout"


async def test_nobody_there_is_a_failure_to_connect(fetch: Fetch) -> None:
    assert await failure(fetch, "http://127.0.0.1:9/") == "connect"


async def test_a_name_that_is_none_is_told_apart(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real(library, monkeypatch) as fetch:
        with no_names():
            assert await failure(fetch, "https://provider.invalid/") == "dns"


async def test_a_certificate_that_nobody_vouches_for_is_told_apart(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(library, monkeypatch) as fetch, untrusted_server() as port:
        assert await failure(fetch, f"https://127.0.0.1:{port}/") == "tls"


@pytest.mark.parametrize("way", ["reset", "truncated"])
async def test_a_connection_that_breaks_is_a_failure_of_the_protocol(fetch: Fetch, origin: Origin, way: str) -> None:
    assert await failure(fetch, f"{origin.base}/{way}") == "protocol"


async def test_after_a_failure_the_next_call_works(fetch: Fetch, origin: Origin) -> None:
    for way in ("reset", "truncated"):
        await failure(fetch, f"{origin.base}/{way}")
    assert (await fetch(HttpRequest("GET", f"{origin.base}/landed"))).body == b"landed"


def test_nothing_of_a_token_is_in_what_a_request_or_an_answer_shows() -> None:
    secret = "ya29.secret"
    request = HttpRequest("POST", "https://x.example/", {"authorization": secret}, secret.encode())
    response = HttpResponse(200, {}, secret.encode())
    assert secret not in f"{request!r}{response!r}"


# The real ones


async def test_method_headers_and_body_arrive(library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real(library, monkeypatch) as fetch:
        await fetch(HttpRequest("POST", f"{origin.base}/landed", {"authorization": "Bearer x"}, b'{"a":1}'))
    (request,) = origin.seen
    assert (request.method, await request.body()) == ("POST", b'{"a":1}')
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "//127.0.0.1/",
        "",
        "http://0.0.0.0/",
        "http://127.1/",
    ],
)
async def test_nothing_but_https_is_asked_and_plain_http_only_on_this_machine(
    library: str, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    async with real(library, monkeypatch) as fetch:
        assert await failure(fetch, url) == "insecure_url"


async def test_in_production_not_even_this_machine_is_asked_in_the_clear(
    library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(library, monkeypatch, allow_loopback_http=False) as fetch:
        assert await failure(fetch, f"{origin.base}/landed") == "insecure_url"
    assert origin.seen == []


async def test_one_client_and_one_connection_serve_many_calls(
    library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(library, monkeypatch) as fetch:
        for _ in range(10):
            await fetch(HttpRequest("GET", f"{origin.base}/landed"))
    assert len(origin.hosts) == 1


async def test_a_compressed_body_is_not_inflated(library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of 10 MB in 10 kB stays 10 kB."""
    async with real(library, monkeypatch) as fetch:
        response = await fetch(HttpRequest("GET", f"{origin.base}/gzip"))
    assert response.body[:2] == b"\x1f\x8b"
    assert len(response.body) < 20_000


async def test_a_cookie_of_one_call_is_not_sent_with_the_next(
    library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(library, monkeypatch) as fetch:
        await fetch(HttpRequest("GET", f"{origin.base}/cookie"))
        await fetch(HttpRequest("GET", f"{origin.base}/landed"))
    assert "cookie" not in origin.seen[1].headers


async def test_a_proxy_of_the_environment_does_not_see_tokens(
    library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login root password hunter2")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with real(library, monkeypatch) as fetch:
        assert (await fetch(HttpRequest("GET", f"{origin.base}/landed"))).body == b"landed"
    assert "authorization" not in origin.seen[0].headers


async def test_a_caller_that_is_cancelled_is_cancelled(
    library: str, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(library, monkeypatch, deadline=60) as fetch:
        call = asyncio.ensure_future(fetch(HttpRequest("GET", f"{origin.base}/stuck")))
        await origin.stuck.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await fetch(HttpRequest("GET", f"{origin.base}/landed"))).status == 200


async def test_a_client_of_the_caller_s_own_is_not_closed(origin: Origin) -> None:
    async with http_library().AsyncClient(trust_env=False, verify=False) as client:
        fetch = HttpFetch(allow_loopback_http=True, client=client)
        await fetch(HttpRequest("GET", f"{origin.base}/landed"))
        await fetch.aclose()
        assert not client.is_closed


async def test_closing_twice_or_before_any_call_is_harmless() -> None:
    fetch = HttpFetch()
    await fetch.aclose()
    await fetch.aclose()
    assert await failure(fetch, "http://provider.example/") == "insecure_url"
