"""Who a tool sees, on each host and mode: the caller of this request, whoever began the session, with this token."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.hosts.conftest import Mcp, Served, message

OLD, NEW = "2025-11-25", "2026-07-28"
HOSTS = ["mcp1", "mcp2", "fastmcp"]
MODES = ("stateful", "stateless", "json", "stateless-json")
KINDS = [
    *(("mcp1", mode, OLD) for mode in MODES),
    *((host, mode, revision) for host in ("mcp2", "fastmcp") for mode in MODES for revision in (OLD, NEW)),
    *((host, "stateful", revision) for host in HOSTS for revision in ("2025-03-26", "2025-06-18")),
    *((host, "auth", OLD) for host in HOSTS),
    *((host, "auth", NEW) for host in ("mcp2", "fastmcp")),
]
SESSIONS = [(host, mode) for host in HOSTS for mode in ("stateful", "json", "auth")]
TOOLS = ["seen", "seen_at_once", "seen_by_itself", "seen_at_once_by_itself"]
ANN, READS, WRITES = "auth0:google-oauth2|", ["notes:read"], ["notes:share", "notes:write"]


def told(mcp: Mcp, tool: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = mcp.call(tool, headers=headers)
    assert answer.status_code == 200, answer.text
    return message(answer)["result"]["structuredContent"]


def bearer(served: Served, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.tokens[name]}"}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_tool_sees_its_caller_and_what_is_in_the_token(
    caller: Callable[..., Mcp], kind: tuple[str, ...], tool: str
) -> None:
    seen = {name: told(caller(*kind, name), tool) for name in ("reader", "writer", "stranger", "key")}
    assert seen["reader"]["user_id"].startswith(ANN)
    assert seen["reader"]["user_id"] == seen["writer"]["user_id"]
    assert [seen[name]["token"] for name in ("reader", "writer")] == ["reader", "writer"]
    assert [seen[name]["permissions"] for name in ("reader", "writer", "key")] == [READS, WRITES, READS]
    assert len({told["user_id"] for told in seen.values()}) == 3
    assert len({told["tenant_id"] for told in seen.values()}) == 3
    assert seen["key"]["tenant_id"] == "robots"


@pytest.mark.parametrize("kind", [("mcp2", "stateful", OLD), ("fastmcp", "stateful", OLD), ("fastmcp", "auth", NEW)])
def test_a_tool_that_is_no_coroutine_runs_in_a_thread_and_is_told_the_same(
    caller: Callable[..., Mcp], kind: tuple[str, ...]
) -> None:
    assert told(caller(*kind, "reader"), "seen_at_once_by_itself")["in_a_thread"] is True


@pytest.mark.parametrize(("host", "mode"), [*SESSIONS, *((host, "stateless") for host in HOSTS)])
def test_callers_at_once_are_never_mixed_up(caller: Callable[..., Mcp], host: str, mode: str) -> None:
    names = ["reader", "writer", "stranger", "key"]
    mine = {name: told(caller(host, mode, OLD, name), "seen") for name in names}
    asked = [(name, tool) for name in names for tool in TOOLS] * 2
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: told(caller(host, mode, OLD, one[0]), one[1]), asked))
    for (name, _), answer in zip(asked, answers, strict=True):
        assert {**answer, "in_a_thread": False} == {**mine[name], "in_a_thread": False}


@pytest.mark.parametrize(
    ("owner", "rider"), [("reader", "stranger"), ("stranger", "reader"), ("key", "other-key"), ("reader", "key")]
)
@pytest.mark.parametrize(("host", "mode"), SESSIONS)
def test_who_rides_a_foreign_session_gets_nothing_of_it(
    caller: Callable[..., Mcp], serving: Callable[[str], Served], host: str, mode: str, owner: str, rider: str
) -> None:
    mcp = caller(host, mode, OLD, owner)
    mine, theirs = told(mcp, "seen"), bearer(serving(host), rider)
    answers = [
        *(mcp.call(tool, headers=theirs) for tool in TOOLS),
        mcp.ask("tools/list", headers=theirs),
        mcp.send("GET", headers=theirs),
        mcp.send("DELETE", headers=theirs),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert not [answer for answer in answers if mine["user_id"] in answer.text or mine["tenant_id"] in answer.text]
    assert told(mcp, "seen") == mine  # nobody has ended it


@pytest.mark.parametrize(("host", "mode"), SESSIONS)
def test_knowing_the_id_of_a_session_is_proof_of_nothing(caller: Callable[..., Mcp], host: str, mode: str) -> None:
    mcp = caller(host, mode, OLD, "reader")
    answers = [mcp.call("seen", headers={"Authorization": word}) for word in ("", "Bearer", "Bearer bad.bad.bad")]
    assert {answer.status_code for answer in answers} <= {400, 401}
    assert {
        mcp.send(method, headers={"Authorization": "Bearer b.a.d"}).status_code for method in ("GET", "DELETE")
    } == {401}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("host", "mode"), SESSIONS)
def test_a_session_goes_on_with_a_new_token_and_the_tools_see_that_one(
    caller: Callable[..., Mcp], serving: Callable[[str], Served], host: str, mode: str, tool: str
) -> None:
    mcp, new = caller(host, mode, OLD, "reader"), bearer(serving(host), "writer")
    before, after, again = told(mcp, tool), told(mcp, tool, new), told(mcp, tool)
    assert before == again
    assert (before["token"], after["token"]) == ("reader", "writer")
    assert (before["permissions"], after["permissions"]) == (READS, WRITES)
    assert (before["user_id"], before["tenant_id"]) == (after["user_id"], after["tenant_id"])


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_fastmcps_cache_keeps_the_answers_of_callers_and_of_their_tokens_apart(
    caller: Callable[..., Mcp], revision: str
) -> None:
    seen = [told(caller("fastmcp", "caching", revision, name), "seen") for name in ("reader", "writer", "stranger")]
    assert [one["token"] for one in seen[:2]] == ["reader", "writer"]
    assert seen[0]["user_id"] == seen[1]["user_id"] != seen[2]["user_id"]
