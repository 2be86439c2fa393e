from __future__ import annotations

from typing import Any

import pytest

from tenantry.core.policy import Policy, is_permission, permissions_of, roles_of, scopes_of
from tenantry.errors import TokenInvalid
from tenantry.model import Claims, Identity, Tenant, VerifiedClaims


@pytest.mark.parametrize("text", ["read", "notes:read", "notes:*", "https://example.com/scope", "!", "a" * 128])
def test_a_scope_token_names_a_permission(text: str) -> None:
    assert is_permission(text)


@pytest.mark.parametrize("text", ["", " ", "a b", 'a"b', "a\\b", "a\tb", "a\n", "\u00e9", "a" * 129, None, 1, ["a"]])
def test_what_could_be_read_as_two_or_break_a_challenge_names_none(text: Any) -> None:
    assert not is_permission(text)


def test_a_scope_is_words_separated_by_blanks_or_a_list() -> None:
    assert scopes_of("a  b a ") == scopes_of(["a", "b"]) == {"a", "b"}
    assert scopes_of(None) == scopes_of("") == frozenset()


def test_other_separators_do_not_separate() -> None:
    assert scopes_of("a,b") == {"a,b"}
    assert scopes_of("a\tadmin") == scopes_of("a\nadmin") == frozenset()


def test_scopes_about_the_user_grant_nothing() -> None:
    about = "openid profile email offline_access https://www.googleapis.com/auth/userinfo.email"
    assert scopes_of(f"{about} notes:read") == {"notes:read"}


@pytest.mark.parametrize("value", [1, True, {"admin": True}, 1.5, ("a",)])
def test_a_claim_of_another_type_is_refused(value: Any) -> None:
    for reader in (scopes_of, permissions_of, roles_of):
        with pytest.raises(TokenInvalid, match="claims_malformed"):
            reader(value)


@pytest.mark.parametrize("reader", [permissions_of, roles_of])
def test_a_string_is_no_list_of_names(reader: Any) -> None:
    """Iterating it would grant its letters."""
    with pytest.raises(TokenInvalid, match="claims_malformed"):
        reader("admin")


def test_entries_that_cannot_name_anything_grant_nothing() -> None:
    assert permissions_of(["a", 1, None, ["admin"], {"admin": 1}, "", "b c", "a" * 129]) == {"a"}
    assert roles_of(["Tenant Admin", 1, None, ["x"], "", "a\nb", "a" * 129]) == {"Tenant Admin"}


def context_of(policy: Policy, **identity: Any) -> Any:
    who = Identity("auth0:1", "auth0", "1", **identity)
    verified = VerifiedClaims("auth0", "access_token", "1", Claims(b'{"sub":"1"}'), 5.0)
    return policy.context(verified, who, Tenant("acme_com", "domain", named=False))


def test_permissions_are_those_of_the_credential_the_default_and_the_roles() -> None:
    policy = Policy(frozenset({"base"}), {"editor": frozenset({"notes:write"}), "boss": frozenset({"notes:*"})})
    user = context_of(policy, permissions=frozenset({"own"}), roles=frozenset({"editor", "unknown"}))
    assert user.permissions == {"own", "base", "notes:write"}
    assert user.roles == {"editor", "unknown"}


def test_a_role_is_no_permission() -> None:
    assert context_of(Policy(), roles=frozenset({"admin"})).permissions == frozenset()


def test_the_context_has_the_assigned_tenant_and_the_proofs_end() -> None:
    user = context_of(Policy(), email="ann@acme.com", email_verified=True, organization="other", domain="other.com")
    assert (user.tenant_id, user.expires_at, user.email, dict(user.claims)) == (
        "acme_com",
        5.0,
        "ann@acme.com",
        {"sub": "1"},
    )
