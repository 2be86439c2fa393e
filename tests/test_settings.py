"""What an operator may say, and that a mistake is told with the variable, the problem and the mend, never a secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenantry.assemble import Outside, assemble
from tenantry.core import apikeys
from tenantry.core.quota import Quota
from tenantry.errors import ConfigurationError, Misdirected, Refusal
from tenantry.model import Credential
from tenantry.observations import ConfigurationLoaded, InsecureSetting
from tenantry.settings import Settings
from tenantry.testing import FakeFetch, FrozenClock, Recorder

KEY = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
OWN = apikeys.compose_key("live", b"\x01" * 8, b"\x02" * 32)
ANOTHER = apikeys.compose_key("live", b"\x01" * 8, b"\x03" * 32)
PROD = {"MCP_HTTP_PUBLIC_URL": "https://mcp.example.com/mcp", "MCP_HTTP_GOOGLE_CLIENT_ID": "ours"}
DEV = {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_API_KEY": "dev-key-123"}

Set = Callable[..., None]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Set the environment, without the prefix or with a whole name."""
    for name in list(os.environ):
        if name.startswith(("MCP_HTTP_", "AUTH0_", "GOOGLE_")) or name in {
            "DATABASE_URL",
            "DIRECT_DATABASE_URL",
            "PORT",
        }:
            monkeypatch.delenv(name)

    def put(values: dict[str, str] | None = None, **more: str) -> None:
        for name, value in {**(values or {}), **{f"MCP_HTTP_{name}": value for name, value in more.items()}}.items():
            monkeypatch.setenv(name, value)

    return put


def told() -> str:
    """What the operator reads when the settings do not do."""
    with pytest.raises(ConfigurationError) as caught:
        assembled()
    return str(caught.value)


def assembled() -> Any:
    return assemble(Settings(), Outside(FrozenClock(), FakeFetch(), Recorder()))


# Something to sign in with


def test_with_nothing_set_the_message_lists_what_to_set(env: Set) -> None:
    words = told()
    assert "Nobody could sign in" in words
    for name in ("GOOGLE_CLIENT_ID", "AUTH0_DOMAIN", "AUTH0_AUDIENCE", "GITHUB_ENABLED", "API_KEYS", "API_KEY"):
        assert f"MCP_HTTP_{name}" in words


def test_the_smallest_production_settings(env: Set) -> None:
    env(PROD)
    settings = Settings()
    assert (settings.environment, settings.development) == ("production", False)
    assert (settings.google_client_id, settings.resource) == (("ours",), "https://mcp.example.com/mcp")
    assert (settings.token_cache_ttl, settings.token_cache_size, settings.clock_skew) == (300, 10_000, 30)
    assert (settings.rate_limit_tenant, settings.rate_limit_user) == (Quota(600, 60), None)
    assert assembled().gate.providers.keys() == {"google"}


def test_every_provider_at_once(env: Set) -> None:
    env(
        PROD,
        AUTH0_DOMAIN="acme.eu.auth0.com",
        AUTH0_AUDIENCE="https://mcp.example/mcp",
        GITHUB_ENABLED="true",
        GITHUB_CLIENT_ID="Iv1.x",
        GITHUB_CLIENT_SECRET="s",
        API_KEY=KEY,
    )
    assert assembled().gate.providers.keys() == {"google", "auth0", "github", "api_key"}
    assert Settings().auth0_issuer == "https://acme.eu.auth0.com/"


def test_settings_cannot_be_changed_afterwards(env: Set) -> None:
    env(PROD)
    with pytest.raises(Exception, match="frozen"):
        Settings().google_client_id = ("theirs",)  # type: ignore[misc]


# Unknown, empty and later


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GOOGLE_CLIENTID", "GOOGLE_CLIENT_ID"),
        ("AUTH0_AUDIENCES", "AUTH0_AUDIENCE"),
        ("ALLOWED_DOMAIN", "ALLOWED_DOMAINS"),
        ("google_client_id", "GOOGLE_CLIENT_ID"),
        ("APIKEY", "API_KEY"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_one_that_was_meant(env: Set, name: str, meant: str) -> None:
    env(PROD, **{name: "secret-value-of-mine"})
    words = told()
    assert f"MCP_HTTP_{name} is not a setting" in words
    assert f"MCP_HTTP_{meant}" in words
    assert "secret-value" not in words


def test_a_variable_that_resembles_nothing_is_refused(env: Set) -> None:
    env(PROD, ZZZZZZ="1")
    assert told() == "MCP_HTTP_ZZZZZZ is not a setting."


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_value_is_refused_for_every_variable(env: Set, name: str, value: str) -> None:
    env(PROD, **{name: value})
    assert told() == f"MCP_HTTP_{name} is set but empty: give it a value or unset it."


@pytest.mark.parametrize(
    "name", ["GOOGLE_CLIENT_ID", "ALLOWED_DOMAINS", "DEFAULT_PERMISSIONS", "CORS_ORIGINS", "EXEMPT_PATHS"]
)
@pytest.mark.parametrize("value", [",", "a,", ",a", "a,,b", "a, ,b"])
def test_an_empty_entry_of_a_list_is_refused(env: Set, name: str, value: str) -> None:
    env(PROD, **{name: value})
    words = told()
    assert words.startswith(f"MCP_HTTP_{name}: has an empty entry")
    assert "separated by commas" in words


@pytest.mark.parametrize(
    "name", ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "AUTH0_DOMAIN", "AUTH0_AUDIENCE", "PORT", "DATABASE_URL"]
)
def test_an_empty_fallback_is_refused_as_well_unless_ours_is_set(env: Set, name: str) -> None:
    env({"MCP_HTTP_PUBLIC_URL": "https://x.example", "MCP_HTTP_API_KEY": KEY, name: " "})
    assert told() == f"{name} is set but empty: give it a value or unset it."
    env(
        PROD,
        AUTH0_DOMAIN="a.example",
        AUTH0_AUDIENCE="x",
        PORT="1",
        DATABASE_CONNECTION_STRING="postgresql://x",
        GOOGLE_CLIENT_SECRET="s",
    )
    assert Settings()


# Fallbacks


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("GOOGLE_CLIENT_ID", "google_client_id", ("theirs",)),
        ("AUTH0_DOMAIN", "auth0_domain", "theirs"),
        ("AUTH0_AUDIENCE", "auth0_audience", ("theirs",)),
    ],
)
def test_other_programs_names_are_read_and_ours_come_first(env: Set, name: str, field: str, expected: Any) -> None:
    env(
        {"MCP_HTTP_PUBLIC_URL": "https://x.example", "AUTH0_DOMAIN": "d.example", "AUTH0_AUDIENCE": "a", name: "theirs"}
    )
    assert getattr(Settings(), field) == expected
    env({f"MCP_HTTP_{name}": "own"})
    assert getattr(Settings(), field) == (("own",) if isinstance(expected, tuple) else "own")


def test_port_and_database_url_are_read_and_ours_come_first(env: Set) -> None:
    env(PROD | {"PORT": "9001", "DATABASE_URL": "postgresql://one/", "GOOGLE_CLIENT_SECRET": "s"})
    settings = Settings()
    assert settings.port == 9001
    assert settings.database_connection_string is not None
    assert settings.database_connection_string.get_secret_value() == "postgresql://one/"
    env(PORT="9002", DATABASE_CONNECTION_STRING="postgresql://two/")
    settings = Settings()
    assert settings.port == 9002
    assert settings.database_connection_string is not None
    assert settings.database_connection_string.get_secret_value() == "postgresql://two/"


# Pairs


def test_auth0_needs_both_halves(env: Set) -> None:
    env(PROD, AUTH0_DOMAIN="acme.eu.auth0.com")
    assert told().startswith("MCP_HTTP_AUTH0_AUDIENCE is missing")
    os.environ.pop("MCP_HTTP_AUTH0_DOMAIN")
    env(AUTH0_AUDIENCE="x")
    assert told().startswith("MCP_HTTP_AUTH0_DOMAIN is missing")


@pytest.mark.parametrize("given", [{}, {"GITHUB_CLIENT_ID": "Iv1.x"}, {"GITHUB_CLIENT_SECRET": "hunter2-hunter2"}])
def test_github_needs_its_whole_client(env: Set, given: dict[str, str]) -> None:
    env(PROD, GITHUB_ENABLED="true", **given)
    words = told()
    assert words.startswith("MCP_HTTP_GITHUB_ENABLED is true without")
    assert "MCP_HTTP_GITHUB_CLIENT_SECRET" in words
    assert "hunter2" not in words


def test_a_github_client_without_github_is_a_mistake(env: Set) -> None:
    env(PROD, GITHUB_CLIENT_ID="Iv1.x", GITHUB_CLIENT_SECRET="hunter2-hunter2")
    words = told()
    assert words.startswith("MCP_HTTP_GITHUB_ENABLED is not true")
    assert "hunter2" not in words


def test_github_without_binding_says_so_in_the_log(env: Set) -> None:
    env(PROD, GITHUB_ENABLED="true", GITHUB_BINDING="none")
    seen = Recorder()
    assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
    assert [warning.variable for warning in seen.of(InsecureSetting)] == ["MCP_HTTP_GITHUB_BINDING=none"]


def test_every_unsafe_choice_is_told_at_start(env: Set) -> None:
    env(DEV, PERSONAL_DOMAINS="shared", GITHUB_ENABLED="true", GITHUB_BINDING="none")
    seen = Recorder()
    assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
    told = {warning.variable.removeprefix("MCP_HTTP_") for warning in seen.of(InsecureSetting)}
    assert told == {"GITHUB_BINDING=none", "PERSONAL_DOMAINS=shared", "ENVIRONMENT=development"}


def test_an_entry_of_an_issuer_that_checks_less_is_told_at_start(env: Set) -> None:
    entry: dict[str, object] = {"name": "acme", "preset": "keycloak", "issuer": "https://id.acme.example/realms/acme"}
    entry |= {"binding": "client", "clients": ["ours"], "tenant_from_email": True}
    env(PROD, PUBLIC_URL="https://mcp.example/mcp", OIDC_PROVIDERS=json.dumps([entry]))
    seen = Recorder()
    assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
    told = {warning.variable.partition(": ")[2] for warning in seen.of(InsecureSetting)}
    assert told == {"tenant_from_email", "binding=client"}


def test_safe_settings_warn_of_nothing(env: Set) -> None:
    env(PROD)
    seen = Recorder()
    assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
    assert [type(observation) for observation in seen.seen] == [ConfigurationLoaded]


@pytest.mark.parametrize("where", ["GITHUB_CLIENT_SECRET", "INTROSPECTION_PROVIDERS"])
def test_a_secret_that_changes_is_another_configuration(env: Set, where: str) -> None:
    versions = set()
    for secret in ("one-made-up-secret", "another-made-up-secret"):
        entry = {"name": "acme", "introspection_endpoint": "https://as.example/introspect", "client_id": "us"}
        entry |= {"client_secret": secret, "audience": "https://mcp.example/mcp", "prefixes": ["acme_"]}
        values = {"GITHUB_CLIENT_SECRET": secret, "INTROSPECTION_PROVIDERS": json.dumps([entry])}
        env(
            PROD,
            GITHUB_ENABLED="true",
            GITHUB_CLIENT_ID="Iv1.us",
            **{"GITHUB_CLIENT_SECRET": "s", where: values[where]},
        )
        seen = Recorder()
        assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
        versions.add(seen.of(ConfigurationLoaded)[0].version)
    assert len(versions) == 2


@pytest.mark.parametrize("given", ["TLS_CERT_PATH", "TLS_KEY_PATH"])
def test_certificate_and_key_belong_together(env: Set, tmp_path: Path, given: str) -> None:
    file = tmp_path / "x.pem"
    file.write_text("x")
    env(PROD, **{given: str(file)})
    assert told().startswith("MCP_HTTP_TLS_CERT_PATH and MCP_HTTP_TLS_KEY_PATH belong together")


def test_files_that_are_named_must_be_there(env: Set, tmp_path: Path) -> None:
    env(PROD, TLS_CERT_PATH=str(tmp_path / "no.pem"), TLS_KEY_PATH=str(tmp_path / "no.key"))
    assert re.match(r"MCP_HTTP_TLS_CERT_PATH names .*no\.pem', which is not a file\.", told())


def test_migrations_must_be_a_folder(env: Set, tmp_path: Path) -> None:
    env(PROD, TENANT_MIGRATIONS=str(tmp_path / "nowhere"))
    assert re.match(r"MCP_HTTP_TENANT_MIGRATIONS names .*, which is not a folder\.", told())


# Addresses


@pytest.mark.parametrize(
    ("name", "value"),
    [("DIRECT_DATABASE_URL", "postgresql://a/b"), ("DATABASES", '{"eu": {"url": "postgresql://a/b"}}')],
)
def test_a_database_beside_none_is_a_mistake(env: Set, name: str, value: str) -> None:
    env(PROD, **{name: value})
    assert told() == f"MCP_HTTP_DATABASE_CONNECTION_STRING is missing: MCP_HTTP_{name} is of no use alone."


def test_with_a_database_keys_may_come_later_so_nothing_else_is_needed_to_sign_in(env: Set) -> None:
    env(DATABASE_CONNECTION_STRING="postgresql://a/b")
    assert assembled().gate.providers.keys() == {"api_key"}


def test_production_needs_its_public_url_once_somebody_can_sign_in(env: Set) -> None:
    env(GOOGLE_CLIENT_ID="ours")
    assert told().startswith("MCP_HTTP_PUBLIC_URL is missing")
    os.environ.pop("MCP_HTTP_GOOGLE_CLIENT_ID")
    env(API_KEY=KEY)
    assert assembled().front.transport.resource is None


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example.com/mcp",
        "mcp.example.com/mcp",
        "https://",
        "https:///mcp",
        "https://mcp.example.com/mcp?x=1",
        "ftp://mcp.example.com",
        "https://mcp.example.com/#x",
        "https://user:hunter2@mcp.example.com/",
        "https://mcp.exämple.com/",
        "https://mcp example.com",
        "http://127.0.0.1:8000/mcp",
        "javascript:alert(1)",
    ],
)
def test_a_public_url_that_clients_could_not_use_is_refused(env: Set, url: str) -> None:
    env(PROD | {"MCP_HTTP_PUBLIC_URL": url})
    assert told().startswith("MCP_HTTP_PUBLIC_URL is ")


@pytest.mark.parametrize("url", ["http://api.github.com", "https://api.github.com?x", "github", "http://127.0.0.1:1"])
def test_the_github_address_is_https(env: Set, url: str) -> None:
    env(PROD, GITHUB_ENABLED="true", GITHUB_CLIENT_ID="x", GITHUB_CLIENT_SECRET="y", GITHUB_API_URL=url)
    assert told().startswith("MCP_HTTP_GITHUB_API_URL is ")


@pytest.mark.parametrize(
    "domain",
    ["acme.eu.auth0.com/path", "http://acme.eu.auth0.com", "http://127.0.0.1:1", "a b", "acme.eu.auth0.com?x=1", "/"],
)
def test_the_auth0_domain_is_a_host_name(env: Set, domain: str) -> None:
    env(PROD, AUTH0_DOMAIN=domain, AUTH0_AUDIENCE="x")
    assert told().startswith("MCP_HTTP_AUTH0_DOMAIN is ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "127.0.0.1.example.com"])
def test_development_is_served_on_this_machine_only(env: Set, host: str) -> None:
    env(DEV, HOST=host)
    assert told().startswith(f"MCP_HTTP_HOST is {host!r}")


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "https://127.0.0.1", "http://accounts.google.com", "http://127.0.0.1.evil.example"]
)
def test_google_s_address_changes_only_to_this_machine(env: Set, url: str) -> None:
    env(DEV, GOOGLE_CLIENT_ID="ours", GOOGLE_BASE_URL=url)
    assert told().startswith("MCP_HTTP_GOOGLE_BASE_URL may be set in development only")


def test_google_s_address_never_changes_in_production(env: Set) -> None:
    env(PROD, GOOGLE_BASE_URL="http://127.0.0.1:9000")
    assert told().startswith("MCP_HTTP_GOOGLE_BASE_URL may be set in development only")


@pytest.mark.parametrize("name", ["GITHUB_API_URL", "AUTH0_DOMAIN", "GOOGLE_BASE_URL", "PUBLIC_URL"])
def test_in_development_every_address_may_be_this_machine(env: Set, name: str) -> None:
    env(DEV, GOOGLE_CLIENT_ID="ours", AUTH0_DOMAIN="a.example", AUTH0_AUDIENCE="x")
    env(**{name: "http://127.0.0.1:9000"})
    assert assembled()


def test_two_providers_for_one_issuer_are_refused(env: Set) -> None:
    env(PROD, AUTH0_DOMAIN="accounts.google.com", AUTH0_AUDIENCE="x")
    assert assembled()  # the slash makes it another issuer
    assert assembled().gate.providers["auth0"].issuers == ("https://accounts.google.com/",)


# Values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "staging"),
        ("ENVIRONMENT", "Production"),
        ("PORT", "x"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("TOKEN_CACHE_TTL", "0"),
        ("TOKEN_CACHE_TTL", "3601"),
        ("TOKEN_CACHE_TTL", "nan"),
        ("TOKEN_CACHE_SIZE", "0"),
        ("CLOCK_SKEW", "-1"),
        ("CLOCK_SKEW", "301"),
        ("CLOCK_SKEW", "nan"),
        ("PERSONAL_DOMAINS", "everybody"),
        ("TENANT_PROVISIONING", "x"),
        ("GITHUB_ENABLED", "perhaps"),
        ("GITHUB_BINDING", "any"),
        ("AUTH0_PERMISSIONS_FROM", "union"),
        ("LOG_LEVEL", "loud"),
        ("DB_POOL_SIZE", "0"),
        ("SCHEMA_NAMES", "hashed"),
        ("RATE_LIMIT_TENANT", "600"),
        ("RATE_LIMIT_TENANT", "0/60"),
        ("RATE_LIMIT_TENANT", "600/0"),
        ("RATE_LIMIT_TENANT", "x/y"),
        ("RATE_LIMIT_TENANT", "-1/60"),
        ("RATE_LIMIT_USER", "1/1e9"),
        ("RATE_LIMIT_TENANT", "1/nan"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(env: Set, name: str, value: str) -> None:
    env(PROD, **{name: value})
    assert f"MCP_HTTP_{name}" in told() or (name == "PORT" and "PORT" in told())


@pytest.mark.parametrize("name", ["TENANT_MAPPING", "ROLE_PERMISSIONS", "API_KEYS", "DATABASES"])
@pytest.mark.parametrize("value", ["{", "x", "[1", "{'a': 'b'}"])
def test_json_that_is_none_is_refused_by_name_without_its_words(env: Set, name: str, value: str) -> None:
    env(PROD, **{name: value + "hunter2"})
    assert told() == f"MCP_HTTP_{name} is not a JSON object."


def test_further_databases_are_read_with_both_their_addresses(env: Set) -> None:
    eu, us = "postgresql://a/eu", "postgresql://a/us"
    env(
        PROD,
        DATABASE_CONNECTION_STRING="postgresql://a/main",
        DATABASES=f'{{"eu-1": {{"url": "{eu}", "direct_url": "{eu}?direct"}}, "us": {{"url": "{us}"}}}}',
    )
    read = Settings().databases or {}
    shown = {name: (one.url.get_secret_value(), one.direct_url) for name, one in read.items()}
    assert shown.keys() == {"eu-1", "us"}
    assert shown["us"] == (us, None)
    assert shown["eu-1"][0] == eu
    assert shown["eu-1"][1] is not None
    assert shown["eu-1"][1].get_secret_value() == f"{eu}?direct"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{"main": {"url": "hunter2"}}', "names one 'main'"),
        ('{"EU": {"url": "hunter2"}}', "names one 'EU'"),
        ('{"": {"url": "hunter2"}}', "names one ''"),
        ('{"e.u": {"url": "hunter2"}}', "names one 'e.u'"),
        ('{"eu": {"url": ""}}', "has an empty connection string for 'eu'"),
        ('{"eu": {"url": "hunter2", "direct_url": " "}}', "has an empty connection string for 'eu'"),
        ('{"eu": {}}', "[eu][url]: Field required"),
        ('{"eu": {"url": "hunter2", "dsn": "hunter2"}}', "[eu][dsn] is not a setting"),
        ('{"eu": "hunter2"}', "[eu]: "),
    ],
)
def test_an_impossible_further_database_is_refused_by_its_name_and_not_quoted(env: Set, value: str, words: str) -> None:
    env(PROD, DATABASE_CONNECTION_STRING="postgresql://a/b", DATABASES=value)
    said = told()
    assert said.startswith("MCP_HTTP_DATABASES")
    assert words in said
    assert "hunter2" not in said


@pytest.mark.parametrize("value", ["[]", "5", "null", '"x"', '{"a": 5}'])
def test_json_of_another_shape_is_refused_by_name(env: Set, value: str) -> None:
    env(PROD, TENANT_MAPPING=value)
    if value == "null":
        assert Settings().tenant_mapping is None
    else:
        assert "MCP_HTTP_TENANT_MAPPING" in told()


@pytest.mark.parametrize(("value", "quota"), [("10/60", Quota(10, 60)), ("1/0.5", Quota(1, 0.5)), ("off", None)])
def test_a_quota_is_requests_per_seconds_or_off(env: Set, value: str, quota: Quota | None) -> None:
    env(PROD, RATE_LIMIT_TENANT=value)
    assert Settings().rate_limit_tenant == quota


# Tenants and permissions


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ('{"mycompany": "x"}', "not a domain name"),
        ('{"MYCOMPANY_.com": "x"}', "not a domain name"),
        ('{"müller.example": "x"}', "xn--"),
        ('{"a.example": "Acme"}', "[a-z]"),
        ('{"a.example": "a___b"}', "three underscores"),
        ('{"a.example": ""}', "[a-z]"),
        ('{"a.example": "x; drop table"}', "[a-z]"),
    ],
)
def test_an_impossible_mapping_is_refused_with_the_entry(env: Set, mapping: str, words: str) -> None:
    env(PROD, TENANT_MAPPING=mapping)
    said = told()
    assert said.startswith("MCP_HTTP_TENANT_MAPPING")
    assert words in said


@pytest.mark.parametrize(
    "domain", ["*", "example", ".example.com", "example.com.", "*.example.com", "exa_mple.com", "@example.com"]
)
def test_an_allowed_domain_must_be_one(env: Set, domain: str) -> None:
    env(PROD, ALLOWED_DOMAINS=f"good.example, {domain}")
    assert told().startswith("MCP_HTTP_ALLOWED_DOMAINS holds")


@pytest.mark.parametrize("permission", ["a b", 'q"', "back\\slash", "x" * 129, "ü"])
def test_a_permission_that_could_break_a_challenge_is_refused(env: Set, permission: str) -> None:
    env(PROD, DEFAULT_PERMISSIONS=permission)
    assert told().startswith("MCP_HTTP_DEFAULT_PERMISSIONS holds")


def test_a_role_without_permissions_is_refused(env: Set) -> None:
    env(PROD, ROLE_PERMISSIONS='{"editor": []}')
    assert told() == "MCP_HTTP_ROLE_PERMISSIONS[editor] is empty: a role that grants nothing is a mistake."


# API keys


@pytest.mark.parametrize("key", ["dev-key-123", "tiny", "x" * 31])
def test_a_short_key_is_refused_in_production_with_a_way_to_make_one(env: Set, key: str) -> None:
    env(API_KEY=key)
    words = told()
    assert words.startswith(f"MCP_HTTP_API_KEY is too short ({len(key)} characters)")
    assert "secrets.token_urlsafe" in words
    assert key not in words


@pytest.mark.parametrize(
    "key",
    [
        "changeme" * 4,
        "changeme-changeme-1234567890-ABCDEFG",
        "x" * 40,
        "12345678901234567890123456789012",
        "my-super-SECRET-of-abcdefghijklmnop",
    ],
)
def test_a_guessable_key_is_refused_in_production(env: Set, key: str) -> None:
    env(API_KEY=key)
    words = told()
    assert words == "MCP_HTTP_API_KEY is a well-known or guessable value: make a random key."


def test_in_development_a_short_key_will_do(env: Set) -> None:
    env(DEV)
    assert assembled().gate.providers.keys() == {"api_key"}


@pytest.mark.parametrize("mode", [{}, {"MCP_HTTP_ENVIRONMENT": "development"}])
@pytest.mark.parametrize(
    "key", ["gho_" + "a" * 36, "ya29." + "aB3" * 12, "sk-" + "aB3" * 12, "aaaaaaaaaaaaaaaaaaaa.bB3.cC4" + "dD5" * 5]
)
def test_a_key_that_looks_like_a_token_of_somebody_else_is_refused(env: Set, mode: dict[str, str], key: str) -> None:
    env(mode, API_KEY=key)
    words = told()
    assert words.startswith("MCP_HTTP_API_KEY looks like a token of another service")
    assert key not in words


@pytest.mark.parametrize(
    "key", ["with a blank " * 4, 'quote"' * 8, "ümlaut-" * 8, "new\nline" * 8, KEY + ":", "{" + KEY]
)
def test_a_key_that_fits_no_header_is_refused(env: Set, key: str) -> None:
    env(API_KEY=key)
    words = told()
    assert words.startswith("MCP_HTTP_API_KEY has characters that do not fit a header")
    assert KEY not in words


@pytest.mark.parametrize("cut", [OWN[:-1], OWN[:-1] + "x", OWN + "x", "mcpk_live_short", OWN.replace("live", "LIVE")])
def test_a_key_of_our_form_that_was_cut_is_refused(env: Set, cut: str) -> None:
    env(DEV | {"MCP_HTTP_API_KEY": cut})
    words = told()
    assert words.startswith("MCP_HTTP_API_KEY begins with mcpk_ but its form or checksum is wrong")
    assert cut not in words


def test_one_key_twice_is_refused_also_as_its_digest(env: Set) -> None:
    digest = apikeys.digest(KEY.encode()).hex()
    for value in (f'{{"{KEY}": {{"name": "a"}}}}', f'{{"sha256:{digest}": {{"name": "a"}}}}'):
        env(API_KEY=KEY, API_KEYS=value)
        assert told() == "MCP_HTTP_API_KEYS holds one key twice."


def test_two_keys_with_one_id_are_refused(env: Set) -> None:
    env(API_KEYS=f'{{"{OWN}": {{"name": "a"}}, "{ANOTHER}": {{"name": "b"}}}}')
    assert told() == "MCP_HTTP_API_KEYS gives two keys the same id."


@pytest.mark.parametrize(
    "entry",
    [
        "5",
        "null",
        "[]",
        "{}",
        '{"name": ""}',
        '{"name": "a", "expires": 1}',
        '{"name": "a", "permissions": "x"}',
        '{"name": "a", "id": "a b"}',
        '{"name": "a", "expires_at": "soon"}',
        '{"name": "a", "tenant_id": 5}',
    ],
)
def test_a_malformed_entry_is_refused_without_the_key(env: Set, entry: str) -> None:
    env(API_KEYS=f'{{"{KEY}": {entry}}}')
    words = told()
    assert words.startswith("MCP_HTTP_API_KEYS")
    assert KEY not in words


@pytest.mark.parametrize("tenant", ["Acme", "a b", "a___b", "", "1acme", "tenant; drop", "x" * 300])
def test_an_impossible_tenant_of_a_key_is_refused_by_the_key_s_name(env: Set, tenant: str) -> None:
    env(API_KEYS=f'{{"{KEY}": {{"name": "ci", "tenant_id": "{tenant}"}}}}')
    assert told() == "MCP_HTTP_API_KEYS gives the key 'ci' an impossible tenant_id."


def test_an_impossible_permission_of_a_key_is_refused_by_the_key_s_name(env: Set) -> None:
    env(API_KEYS=f'{{"{KEY}": {{"name": "ci", "permissions": ["a b"]}}}}')
    assert told().startswith("MCP_HTTP_API_KEYS (ci) holds 'a b'")


def test_no_secret_is_in_what_settings_show_of_themselves(env: Set) -> None:
    secrets = {
        "GOOGLE_CLIENT_SECRET": "google-hunter2",
        "GITHUB_CLIENT_SECRET": "github-hunter2",
        "DATABASE_CONNECTION_STRING": "postgresql://u:db-hunter2@h/d",
        "DIRECT_DATABASE_URL": "postgresql://u:direct-hunter2@h/d",
        "DATABASES": '{"eu": {"url": "postgresql://u:eu-hunter2@h/d", "direct_url": "postgresql://u:far-hunter2@h/d"}}',
        "API_KEY": KEY,
        "API_KEYS": f'{{"{OWN}": {{"name": "ci"}}}}',
    }
    env(PROD, GITHUB_ENABLED="true", GITHUB_CLIENT_ID="x", **secrets)
    settings = Settings()
    assert "hunter2" not in f"{settings!r} {settings}"
    assert KEY not in f"{settings!r} {settings}"
    assert OWN not in f"{settings!r} {settings}"


@pytest.mark.parametrize("name", ["API_KEY", "GITHUB_CLIENT_SECRET", "DATABASE_CONNECTION_STRING"])
def test_no_secret_is_in_a_message_about_something_else(env: Set, name: str) -> None:
    env(PROD, GITHUB_ENABLED="true", TOKEN_CACHE_TTL="never", **{name: "hunter2-hunter2-hunter2-hunter2-hunter2"})
    assert "hunter2" not in told()


# The file


@pytest.fixture
def file(env: Set, tmp_path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        path = tmp_path / "tenantry.toml"
        path.write_text(text)
        env(CONFIG_FILE=str(path))

    return write


def test_a_file_says_the_same_things_in_lower_case(env: Set, file: Callable[[str], None]) -> None:
    file(
        f"""
        public_url = "https://mcp.example.com/mcp"
        google_client_id = ["one", "two"]
        allowed_domains = "a.example, b.example"
        rate_limit_user = "5/10"
        port = 9000
        [tenant_mapping]
        "a.example" = "company_tenant"
        [api_keys."{OWN}"]
        name = "ci"
        permissions = ["notes:read"]
        """
    )
    settings = Settings()
    assert settings.google_client_id == ("one", "two")
    assert settings.allowed_domains == ("a.example", "b.example")
    assert (settings.rate_limit_user, settings.port) == (Quota(5, 10), 9000)
    assert settings.tenant_mapping == {"a.example": "company_tenant"}
    assert assembled().gate.providers.keys() == {"google", "api_key"}


def test_the_environment_comes_before_the_file_and_an_argument_before_both(
    env: Set, file: Callable[[str], None]
) -> None:
    file('public_url = "https://file.example"\ngoogle_client_id = "file"\ntoken_cache_ttl = 10\nclock_skew = 1')
    env(GOOGLE_CLIENT_ID="environment", TOKEN_CACHE_TTL="20")
    settings = Settings(token_cache_ttl=30)
    assert (settings.google_client_id, settings.token_cache_ttl, settings.clock_skew) == (("environment",), 30, 1)


def test_an_unknown_name_in_the_file_is_refused(env: Set, file: Callable[[str], None]) -> None:
    file('public_url = "https://x.example"\ngoogle_client_id = "x"\ngoogle_clientid = "hunter2"')
    words = told()
    assert "GOOGLE_CLIENTID is not a setting" in words
    assert "hunter2" not in words


@pytest.mark.parametrize("line", ["oidc_providers = []", 'introspection_providers = "x"'])
def test_a_name_of_a_later_version_in_the_file_is_refused(env: Set, file: Callable[[str], None], line: str) -> None:
    file(f'public_url = "https://x.example"\ngoogle_client_id = "x"\n{line}')
    assert f"MCP_HTTP_{line.split(' ')[0].upper()}" in told()


@pytest.mark.parametrize(
    "line",
    [
        'google_client_id = ""',
        "google_client_id = []",
        'allowed_domains = ""',
        'public_url = ""',
        'github_client_secret = ""',
        'api_key = ""',
        'auth0_domain = ""',
        "default_permissions = []",
        "auth0_organizations = []",
        'tenant_mapping = ""',
    ],
)
def test_an_empty_value_in_the_file_is_refused(env: Set, file: Callable[[str], None], line: str) -> None:
    base = {"public_url": '"https://x.example"', "google_client_id": '"x"'}
    name = line.split(" ")[0]
    file("\n".join([*(f"{key} = {value}" for key, value in base.items() if key != name), line]))
    assert f"MCP_HTTP_{name.upper()}" in told()


@pytest.mark.parametrize("text", ["public_url = ", "[", "a = 1\na = 2", "\x00", 'api_key = "hunter2\n'])
def test_a_file_that_is_not_toml_is_refused_by_its_variable_without_its_words(
    env: Set, file: Callable[[str], None], text: str
) -> None:
    file(text)
    words = told()
    assert words.startswith("MCP_HTTP_CONFIG_FILE")
    assert "hunter2" not in words


def test_a_file_that_is_not_text_is_refused(env: Set, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    env(CONFIG_FILE=str(path))
    assert told().startswith("MCP_HTTP_CONFIG_FILE")


@pytest.mark.parametrize("path", ["/nowhere/x.toml", "/tmp"])
def test_a_file_that_is_not_there_is_refused(env: Set, path: str) -> None:
    env(PROD, CONFIG_FILE=path)
    assert told() == f"MCP_HTTP_CONFIG_FILE names {path!r}, which is not a file."


# What assembly makes of it


def test_with_a_public_url_only_its_host_is_served(env: Set) -> None:
    env(PROD)
    transport = assembled().front.transport
    transport.check({b"host": b"mcp.example.com"})
    with pytest.raises(Misdirected):
        transport.check({b"host": b"127.0.0.1"})


def test_our_own_origin_is_allowed_and_no_other(env: Set) -> None:
    env(PROD, CORS_ORIGINS="https://app.example", ALLOWED_ORIGINS="https://other.example")
    transport = assembled().front.transport
    for origin in (b"https://mcp.example.com", b"https://app.example", b"https://other.example"):
        transport.check({b"host": b"mcp.example.com", b"origin": origin})
    with pytest.raises(Refusal):
        transport.check({b"host": b"mcp.example.com", b"origin": b"https://evil.example"})


@pytest.mark.anyio
async def test_the_key_of_the_environment_lets_its_holder_in(env: Set) -> None:
    env(API_KEYS=f'{{"{OWN}": {{"name": "ci", "tenant_id": "acme", "permissions": ["notes:read"]}}}}', API_KEY=KEY)
    gate = assembled().gate
    assert (await gate.validate(Credential(OWN.encode()))).user.tenant_id == "acme"
    assert (await gate.validate(Credential(KEY.encode(), "x-api-key"))).user.name == "MCP_HTTP_API_KEY"


@pytest.mark.parametrize("paths", ["/mcp", "/livez,/mcp/", "livez"])
def test_an_exempt_path_that_opens_the_server_to_everybody_is_refused(paths: str) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_EXEMPT_PATHS"):
        Settings(environment="production", public_url="https://mcp.example.com/mcp", api_key=KEY, exempt_paths=paths)


# --- What a review asks for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"RATE_LIMIT_STORE": "redis"}, ("RATE_LIMIT_STORE", "REDIS_URL")),
        ({"RATE_LIMIT_STORE": "postgres"}, ("RATE_LIMIT_STORE", "DATABASE_CONNECTION_STRING")),
        ({"MCP_PATHS": "mcp"}, ("MCP_PATHS", "slash")),
        ({"MAX_BODY": "10"}, ("MAX_BODY",)),
        ({"RATE_LIMIT_ANONYMOUS": "0/60"}, ("RATE_LIMIT_ANONYMOUS",)),
        ({"HSTS_MAX_AGE": "-1"}, ("HSTS_MAX_AGE",)),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, ("TRUSTED_PROXIES", "everybody")),
        ({"SECURITY_HEADERS": "cps"}, ("SECURITY_HEADERS", "csp")),
        ({"METRICS": "everywhere"}, ("METRICS",)),
        ({"AUDIT_SINKS": "file:/nowhere/at/all/audit.jsonl"}, ("AUDIT_SINKS", "folder")),
        ({"AUDIT_SINKS": "postgres"}, ("AUDIT_SINKS", "DATABASE_CONNECTION_STRING")),
        ({"AUDIT_SINKS": "stdout"}, ("AUDIT_HMAC_KEY",)),
        ({"AUDIT_SINKS": "stdout", "AUDIT_HMAC_KEY": "short"}, ("AUDIT_HMAC_KEY", "32")),
        ({"POLICY_FILE": "/nowhere/policy.toml"}, ("POLICY_FILE", "/nowhere/policy.toml")),
        ({"TOOL_PERMISSIONS": '{"add": []}'}, ("TOOL_PERMISSIONS", "add")),
        ({"TOOL_PERMISSIONS": '{"add": "a b"}'}, ("TOOL_PERMISSIONS", "add")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_meant_is_refused_at_start_with_its_name(
    env: Set, values: dict[str, str], names: tuple[str, ...]
) -> None:
    env(PROD, **values)
    with pytest.raises(ConfigurationError) as caught:
        assembled()
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("REQUIRE_HTTPS", "false"), ("RATE_LIMIT_ON_ERROR", "open"), ("AUDIT_ON_ERROR", "open")],
)
def test_a_switch_that_weakens_a_check_is_told_at_start(env: Set, tmp_path: Path, name: str, value: str) -> None:
    env(PROD, AUDIT_SINKS=f"file:{tmp_path}/audit.jsonl", **{name: value})
    seen = Recorder()
    assemble(Settings(), Outside(FrozenClock(), FakeFetch(), seen))
    assert f"MCP_HTTP_{name}={value}" in [warning.variable for warning in seen.of(InsecureSetting)]


def test_a_rule_that_weighs_more_than_a_limit_holds_is_refused(env: Set, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\ntool = "add"\npublic = true\nweight = 50\n')
    env(PROD, POLICY_FILE=str(policy), RATE_LIMIT_USER="20/60")
    with pytest.raises(ConfigurationError, match="weight 50"):
        assembled()


# The header with the client's address


def test_the_header_of_the_client_s_address_is_one_of_a_trusted_proxy_s(env: Set) -> None:
    env(PROD, TRUSTED_PROXIES="10.0.0.0/8", CLIENT_ADDRESS_HEADER="x-real-ip")
    assert assembled().front.proxies.peer(
        {
            "type": "http",
            "client": ("10.0.0.1", 1),
            "headers": [(b"x-forwarded-for", b"1.1.1.1"), (b"x-real-ip", b"203.0.113.9")],
        }
    ).address == ("203.0.113.9")


def test_without_trusted_proxies_it_is_of_no_use(env: Set) -> None:
    env(PROD, CLIENT_ADDRESS_HEADER="x-real-ip")
    assert told().startswith("MCP_HTTP_CLIENT_ADDRESS_HEADER is believed from MCP_HTTP_TRUSTED_PROXIES alone")


@pytest.mark.parametrize("name", ["X-Real-IP", "x real ip", "x-real-ip,x", "host", "forwarded", "authorization", "é"])
def test_what_holds_no_address_is_refused_as_its_header(env: Set, name: str) -> None:
    env(PROD, TRUSTED_PROXIES="10.0.0.0/8", CLIENT_ADDRESS_HEADER=name)
    assert told().startswith(f"MCP_HTTP_CLIENT_ADDRESS_HEADER is {name!r}")
