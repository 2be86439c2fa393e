"""What observations become in the audit, and that nothing in it is a secret, a person or a way into a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.audit.trails import KEY, about, call, caller, rows, running, settings, text_of, written

from tenantry.adapters.audit.events import EVENTS, FIELDS
from tenantry.errors import ConfigurationError
from tenantry.model import Claims
from tenantry.observations import (
    Admitted,
    AdmittedInOutage,
    BudgetLow,
    Called,
    ConfigurationLoaded,
    ConfigurationRefused,
    InsecureSetting,
    InternalError,
    KeysRefreshed,
    KeysRefreshFailed,
    Misconfigured,
    Observation,
    ProviderCalled,
    ProviderFailed,
    QuotaUnchecked,
    Refused,
)

pytestmark = pytest.mark.anyio

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLW5vYm9keQ"
EVERYTHING: Sequence[Observation] = (
    Admitted(caller(), about()),
    AdmittedInOutage(caller(), about()),
    Called(None, about(method="ping"), 200, 0.001),
    call(),
    Refused(401, "token_expired", None, "a hint", about(), "google"),
    Refused(429, "user_quota", "more", None, about(method="tools/call", name="flood"), "google", caller(2)),
    QuotaUnchecked("redis", let_in=True),
    BudgetLow("github", 12, 5000, 1.0),
    ConfigurationLoaded("0123456789abcdef", reloaded=False),
    ConfigurationRefused("MCP_HTTP_PORT: is no number."),
    InsecureSetting("MCP_HTTP_ENVIRONMENT=development", "for loopback use only"),
    Misconfigured("github", "the client secret is wrong"),
    InternalError("ValueError", "somewhere.py:1"),
    ProviderFailed("google", "tokeninfo", "timeout"),
    ProviderCalled("google", "tokeninfo", 200),
    KeysRefreshFailed("auth0", "connect", 3.0),
    KeysRefreshed("auth0", 2, 0),
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


async def test_each_observation_that_matters_is_one_event(log: Path) -> None:
    events = [row["event"] for row in await written(log, *EVERYTHING)]
    assert events == [
        "writer.started",
        "admitted",
        "admitted.outage",
        "called",
        "called",
        "refused",
        "refused",
        "quota.unchecked",
        "budget.low",
        "configuration.loaded",
        "configuration.refused",
        "configuration.insecure",
        "configuration.wrong",
        "internal.error",
        "outage.began",
        "outage.ended",
        "outage.began",
        "outage.ended",
    ]
    assert set(events) <= EVENTS.keys()


async def test_rows_have_the_members_that_are_documented_in_their_order(log: Path) -> None:
    order = list(FIELDS)
    for row in await written(log, *EVERYTHING, audit_hmac_key=KEY):
        assert [order.index(name) for name in row] == sorted(order.index(name) for name in row)
        assert not any(isinstance(value, (dict, list)) for value in row.values())


async def test_a_call_says_who_what_whence_and_how_it_ended(log: Path) -> None:
    user = caller(client_id="an-app", tenant="acme_com")
    asked = about(7, method="tools/call", name="add_note", trace_id="0af7651916cd43dd8448eb211c80319c")
    (_, row) = await written(log, Called(user, asked, 200, 0.0123456), audit_users="plain", audit_email="plain")
    assert row | {"at": "", "id": "", "writer": "", "prev": "", "hash": ""} == {
        "v": 1,
        "writer": "",
        "stream": "file",
        "seq": 2,
        "id": "",
        "at": "",
        "event": "called",
        "tenant": "acme_com",
        "user": "google:1",
        "email": "Person1@acme.example",
        "provider": "google",
        "client": "an-app",
        "address": "127.0.0.9",
        "request_id": "request-7",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "method": "tools/call",
        "name": "add_note",
        "status": 200,
        "duration_ms": 12.346,
        "prev": "",
        "hash": "",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["at"])


async def test_an_event_has_the_same_id_in_every_sink(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with running(settings(audit_sinks=("stdout", f"file:{log}"))) as audit:
        audit.observe(call(1))
        audit.observe(call(2))
    printed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["id"] for row in printed] == [row["id"] for row in rows(log)][1:]


async def test_an_outage_begins_once_and_ends_with_a_good_answer(log: Path) -> None:
    failed = ProviderFailed("google", "tokeninfo", "timeout")
    seen = [failed, failed, ProviderCalled("google", "tokeninfo", 503), ProviderCalled("google", "tokeninfo", 429)]
    found = await written(log, *seen, ProviderCalled("google", "tokeninfo", 401), failed)
    assert [row["event"] for row in found] == ["writer.started", "outage.began", "outage.ended", "outage.began"]
    assert found[1]["provider"] == "google"


async def test_the_database_is_out_from_the_first_refusal_to_the_first_caller_that_came_later(log: Path) -> None:
    refused = Refused(503, "database_unavailable", None, None, about())
    early = Called(caller(), about(), 200, 3600.0)
    found = await written(log, refused, refused, early, Admitted(caller(), about()))
    assert [row["event"] for row in found[1:]] == [
        "refused",
        "outage.began",
        "refused",
        "called",
        "admitted",
        "outage.ended",
    ]


async def test_a_key_is_used_once_an_hour(log: Path) -> None:
    program = caller(provider="api_key", subject="k1", email=None)
    found = await written(log, *[call(number, program) for number in range(3)])
    assert [row["event"] for row in found[1:]] == ["called", "key.used", "called", "called"]
    assert {row["user"] for row in found[1:]} == {"apikey:1"}


# --- What callers choose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x07", 'a"b\\c', "line\nfeed\r", "\u202egnp.exe", "\0", "\ud800", "\x7f", "x" * 100_000, "ü€😀"]
)
async def test_what_a_caller_chose_is_short_and_harmless(log: Path, text: str) -> None:
    asked = about(method=text, name=text, trace_id=text, request_id=text, address=text)
    await written(log, Called(caller(), asked, 200, 0.0), Refused(400, "body_malformed", None, None, asked))
    lines = text_of(log).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.isprintable()
        assert len(line) < 8192
        assert "\\u0000" not in line
        assert "\\ud800" not in line.replace("\\ud83d\\ude00", "")
    assert json.loads(lines[1])["name"] == "".join("\ufffd" if c in "\0\x7f\ud800" else c for c in text[:256])


async def test_no_credential_and_no_claim_is_in_any_row(log: Path) -> None:
    """Whatever holds one, beside the fields that are written."""
    user = caller(claims=Claims.of({"secret_claim": TOKEN}), name=f"Name {TOKEN}", picture=f"https://x/{TOKEN}")
    seen = [
        Admitted(user, about()),
        call(1, user),
        Refused(401, "token_rejected", None, TOKEN, about(), "google", user),
    ]
    await written(log, *seen, audit_users="plain", audit_email="plain")
    text = "".join(path.read_text() for path in log.parent.iterdir())
    assert not any(TOKEN[start : start + 16] in text for start in range(len(TOKEN) - 16))


# --- People -----------------------------------------------------------------------------------------------------------


async def test_by_default_nobody_is_named(log: Path) -> None:
    person = caller(7, tenant="u___abcdefghijklmnopqrstuvwxyz")
    await written(log, Admitted(person, about()), call(1, person))
    text = text_of(log)
    for word in ("google:7", "Person7", "person7", "acme.example", "abcdefghijklmnopqrstuvwxyz"):
        assert word not in text
    (_, admitted, called) = rows(log)
    assert admitted["user"] == called["user"]
    assert re.fullmatch(r"google:~[a-z2-7]{26}", called["user"])
    assert re.fullmatch(r"~[a-z2-7]{26}", called["email"])
    assert re.fullmatch(r"u___~[a-z2-7]{26}", called["tenant"])


async def test_two_processes_give_a_person_the_same_name_and_two_persons_different_ones(log: Path) -> None:
    await written(log, call(1, caller(1)), call(2, caller(2)))
    found = await written(log, call(1, caller(1)))
    words = [row["user"] for row in found if row["event"] == "called"]
    assert words[0] == words[2] != words[1]


@pytest.mark.parametrize(("email", "shown"), [("plain", "Person1@acme.example"), ("off", None)])
async def test_an_address_is_written_as_the_settings_say(log: Path, email: Any, shown: str | None) -> None:
    (_, row) = await written(log, call(), audit_email=email)
    assert row.get("email") == shown


async def test_on_standard_output_alone_names_follow_from_the_operators_key(capfd: pytest.CaptureFixture[str]) -> None:
    seen = []
    for key in (KEY, KEY, KEY[::-1]):
        async with running(settings(audit_sinks=("stdout",), audit_hmac_key=key)) as audit:
            audit.observe(call())
        seen.append(json.loads(capfd.readouterr().out)["user"])
    assert seen[0] == seen[1] != seen[2]


async def test_standard_output_alone_needs_the_key_unless_nobody_has_a_pseudonym() -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_AUDIT_HMAC_KEY is missing"):
        async with running(settings(audit_sinks=("stdout",))):
            pass
    async with running(settings(audit_sinks=("stdout",), audit_users="plain", audit_email="off")):
        pass


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"audit_sinks": ("syslog",)}, "MCP_HTTP_AUDIT_SINKS holds 'syslog'"),
        ({"audit_sinks": ("file:",)}, "MCP_HTTP_AUDIT_SINKS holds 'file:'"),
        ({"audit_sinks": ("stdout", "stdout")}, "MCP_HTTP_AUDIT_SINKS holds 'stdout'"),
        ({"audit_sinks": ("file:a", "file:b")}, "names 2 files"),
        ({"audit_sinks": ("postgres",)}, "MCP_HTTP_DATABASE_CONNECTION_STRING"),
        ({"audit_sinks": ("file:/no/such/folder/audit.log",)}, "whose folder is not there"),
        ({"audit_sinks": ("file:/dev/null",)}, "not a regular file"),
        ({"audit_sinks": ("stdout",), "audit_hmac_key": "short"}, "shorter than 32"),
    ],
)
async def test_settings_that_cannot_work_are_refused_by_name(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(sentence)) as error:
        async with running(settings(**values)):
            pass
    assert "short'" not in str(error.value)
