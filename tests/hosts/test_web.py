"""Permissions in endpoints of FastAPI and Starlette."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
from tests.hosts.conftest import Served

ENDPOINTS = [
    ("POST", "/fastapi/later/7"),
    ("GET", "/fastapi/at_once"),
    ("GET", "/fastapi/with_request"),
    ("GET", "/fastapi/depends"),
    ("GET", "/fastapi/direct"),
    ("GET", "/fastapi/stream"),
    ("GET", "/starlette/later"),
    ("GET", "/starlette/at_once"),
    ("GET", "/starlette/endpoint"),
    ("POST", "/starlette/endpoint"),
]
SEEN = ("seen", "seen_at_once")


class Web(NamedTuple):
    client: httpx.Client
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def web(serving: Callable[[str], Served]) -> Iterator[Web]:
    served = serving("web")
    with httpx.Client(base_url=served.url, verify=False, trust_env=False, timeout=20) as client:
        yield Web(client, served.tokens)


def ask(web: Web, name: str, method: str, path: str) -> httpx.Response:
    body = {"text": "text"} if method == "POST" else None
    return web.client.request(method, path, headers={"Authorization": f"Bearer {web.tokens[name]}"}, json=body)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=" ".join)
def test_an_endpoint_that_needs_more_is_a_403_that_names_all_permissions(web: Web, method: str, path: str) -> None:
    answer = ask(web, "reader", method, path)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="notes:write notes:share"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=" ".join)
def test_who_has_the_permissions_gets_the_answer(web: Web, method: str, path: str) -> None:
    answer = ask(web, "writer", method, path)
    assert answer.status_code == 200
    assert "text" in answer.text


@pytest.mark.parametrize("path", [f"/{app}/{name}" for app in ("fastapi", "starlette") for name in SEEN])
def test_an_endpoint_sees_its_caller_also_among_many(web: Web, path: str) -> None:
    names = ["reader", "stranger", "key", "other-key"] * 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: ask(web, name, "GET", path), names))
    seen = [answer.text.strip('"').split() for answer in answers]
    assert all(by_request == by_itself for by_request, by_itself in seen)
    assert len({user for user, _ in seen}) == 4
    assert [user for user, _ in seen] == [user for user, _ in seen[:4]] * 5


def test_a_parameter_that_is_wrong_is_still_the_frameworks_own_error(web: Web) -> None:
    assert ask(web, "writer", "POST", "/fastapi/later/seven").status_code == 422


def test_another_refusal_out_of_an_endpoint_has_its_status_too(web: Web) -> None:
    answer = ask(web, "writer", "GET", "/fastapi/foreign")
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")


def test_whoami_is_an_endpoint_as_well(web: Web) -> None:
    told = ask(web, "reader", "GET", "/fastapi/whoami").json()
    assert (told["provider"], told["permissions"]) == ("auth0", ["notes:read"])


def test_the_documentation_of_the_api_knows_the_parameters(web: Web) -> None:
    paths = ask(web, "reader", "GET", "/fastapi/openapi.json").json()["paths"]
    assert [p["name"] for p in paths["/later/{number}"]["post"]["parameters"]] == ["number"]
    assert [p["name"] for p in paths["/at_once"]["get"]["parameters"]] == ["text"]
    assert "parameters" not in paths["/depends"]["get"]
