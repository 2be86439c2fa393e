from __future__ import annotations

import json
import re

import pytest

from tenantry.core.challenge import body, challenge
from tenantry.errors import (
    REASONS,
    CredentialMissing,
    Forbidden,
    InsufficientScope,
    Misdirected,
    OverQuota,
    Refusal,
    RequestInvalid,
    TokenInvalid,
    Unavailable,
)

URL = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


def test_nothing_presented_is_challenged_without_an_error_code() -> None:
    refusal = CredentialMissing("credential_missing")
    assert challenge(refusal, URL, ["notes:read"]) == f'Bearer resource_metadata="{URL}", scope="notes:read"'


def test_a_bad_token_is_told_so_with_the_description_last() -> None:
    assert challenge(TokenInvalid("token_expired"), URL, []) == (
        f'Bearer resource_metadata="{URL}", error="invalid_token", error_description="The token has expired"'
    )


def test_too_few_permissions_name_all_that_would_do_and_not_the_default() -> None:
    refusal = InsufficientScope("permission_missing", scopes=("notes:read", "notes:write"))
    words = challenge(refusal, URL, ["base"]) or ""
    assert 'error="insufficient_scope"' in words
    assert 'scope="notes:read notes:write"' in words
    assert "base" not in words


def test_a_server_without_oauth_still_sends_a_challenge() -> None:
    assert challenge(CredentialMissing("credential_missing"), None, []) == 'Bearer realm="mcp"'


@pytest.mark.parametrize(
    "refusal",
    [
        Forbidden("domain_not_allowed"),
        Misdirected("host_not_allowed"),
        OverQuota("user_quota", retry_after=1),
        Unavailable("provider_unavailable", retry_after=1),
    ],
)
def test_where_another_token_would_change_nothing_none_is_asked_for(refusal: Refusal) -> None:
    assert challenge(refusal, URL, ["notes:read"]) is None


@pytest.mark.parametrize("reason", REASONS)
def test_every_description_fits_a_quoted_string_and_confuses_no_regular_expression(reason: str) -> None:
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", REASONS[reason].description)  # RFC 6750 section 3
    assert "=" not in REASONS[reason].description


@pytest.mark.parametrize("reason", REASONS)
def test_no_description_says_what_exists(reason: str) -> None:
    assert not re.search(r"\b(no such|not found|does not exist|unknown (user|tenant))\b", REASONS[reason].description)


def test_the_body_says_no_more_in_production() -> None:
    refusal = TokenInvalid("key_unknown", detail="kid seen at google")
    assert json.loads(body(refusal, "r1", development=False)) == {
        "error": "invalid_token",
        "error_description": refusal.description,
        "request_id": "r1",
    }


def test_the_body_helps_a_developer() -> None:
    answer = json.loads(body(Forbidden("personal_account_denied", detail="words"), "r1", development=True))
    assert answer["reason"] == "personal_account_denied"
    assert "MCP_HTTP_PERSONAL_DOMAINS" in answer["hint"]
    assert answer["hint"].endswith("words")


@pytest.mark.parametrize(("kind", "status"), [(RequestInvalid, 400), (TokenInvalid, 401), (InsufficientScope, 403)])
def test_an_error_code_goes_with_its_status_rfc6750(kind: type[Refusal], status: int) -> None:
    assert (kind.status, kind.challenge) == (status, "error")


@pytest.mark.parametrize(("asked", "sent"), [(None, None), (0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (59.5, 60), (-5, 1)])
def test_retry_after_is_whole_seconds_and_never_too_early(asked: float | None, sent: int | None) -> None:
    assert Unavailable("provider_unavailable", retry_after=asked).retry_after == sent


def test_a_refusal_can_be_raised_again_for_somebody_else() -> None:
    first = InsufficientScope("permission_missing", detail="d", retry_after=3, scopes=("a",))
    again = first.again()
    assert again is not first
    assert type(again) is InsufficientScope
    assert (again.reason, again.detail, again.retry_after, again.scopes) == ("permission_missing", "d", 3, ("a",))


def test_a_reason_that_is_not_in_the_table_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        TokenInvalid("something new")
