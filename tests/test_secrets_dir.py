"""Settings out of a directory of files, as Docker, Kubernetes and systemd hand over secrets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import Echo, ask

from tenantry import TenantryMiddleware
from tenantry.errors import ConfigurationError
from tenantry.settings import Settings

KEY, NEW = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE", "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
DSN = "postgresql://app:hunter2@127.0.0.1/x"

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """``put(name="value")`` writes files; what is in the environment stays."""
    monkeypatch.setenv("MCP_HTTP_SECRETS_DIR", str(tmp_path))

    def write(**files: str | bytes) -> Path:
        for name, value in files.items():
            fresh = tmp_path / f".{name}"
            fresh.write_bytes(value if isinstance(value, bytes) else value.encode())
            fresh.replace(tmp_path / name)
        return tmp_path

    return write


def refused() -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    text = str(caught.value)
    assert "hunter2" not in text
    assert KEY not in text
    return text


@pytest.mark.parametrize("name", ["MCP_HTTP_API_KEY", "mcp_http_api_key"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_named_like_a_variable_holds_its_value(put: Put, name: str, end: str) -> None:
    put(**{name: KEY + end})
    key = Settings().api_key
    assert key is not None
    assert key.get_secret_value() == KEY


def test_only_one_line_end_is_the_editor_s(put: Put) -> None:
    put(
        mcp_http_auth0_domain="acme.example",
        mcp_http_auth0_audience="api\n\n",
        mcp_http_public_url="https://m.example/",
    )
    assert Settings().auth0_audience == ("api",)
    put(mcp_http_api_key=f"{KEY}\n\n")
    key = Settings().api_key
    assert key is not None
    assert key.get_secret_value() == f"{KEY}\n"


@pytest.mark.parametrize("name", ["DATABASE_URL", "database_url"])
def test_another_program_s_name_for_a_setting_is_read_too(put: Put, name: str) -> None:
    put(**{name: DSN})
    dsn = Settings().database_connection_string
    assert dsn is not None
    assert dsn.get_secret_value() == DSN


def test_json_and_lists_are_read_as_from_the_environment(put: Put) -> None:
    put(MCP_HTTP_API_KEYS='{"%s": {"name": "ci"}}' % KEY, mcp_http_allowed_domains="a.example, b.example")  # noqa: UP031
    settings = Settings()
    assert settings.api_keys is not None
    assert settings.api_keys[KEY].name == "ci"
    assert settings.allowed_domains == ("a.example", "b.example")


def test_our_own_name_wins_over_another_program_s_wherever_each_stands(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://other@127.0.0.1/y")
    put(mcp_http_database_connection_string=DSN)
    dsn = Settings().database_connection_string
    assert dsn is not None
    assert dsn.get_secret_value() == DSN


def test_a_file_wins_over_the_configuration_file(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tenantry.toml").write_text(f'clock_skew = 1\nmax_body = 2048\napi_key = "{NEW}"\n')
    monkeypatch.setenv("MCP_HTTP_CONFIG_FILE", str(tmp_path / "tenantry.toml"))
    put(mcp_http_api_key=KEY, mcp_http_clock_skew="7")
    settings = Settings()
    assert (settings.clock_skew, settings.max_body) == (7, 2048)


def test_what_is_not_ours_is_passed_over(put: Put) -> None:
    directory = put(mcp_http_api_key=KEY, postgres_password="x", Database_Url="x", **{"..data": "x", ".hidden": ""})
    (directory / "mcp_http_google_client_id").mkdir()
    (directory / "..2027_01_31").mkdir()
    assert Settings().google_client_id is None


def test_the_links_of_kubernetes_are_followed(put: Put, tmp_path: Path) -> None:
    directory = put()
    (directory / "..1").mkdir()
    (directory / "..1/MCP_HTTP_API_KEY").write_text(KEY)
    (directory / "..data").symlink_to("..1")
    (directory / "MCP_HTTP_API_KEY").symlink_to("..data/MCP_HTTP_API_KEY")
    assert Settings().api_key is not None


def test_an_unknown_name_is_refused_with_the_one_that_was_meant(put: Put) -> None:
    put(mcp_http_api_kee=KEY)
    assert refused() == "MCP_HTTP_API_KEE is not a setting: did you mean MCP_HTTP_API_KEY?"


def test_a_variable_in_both_places_is_refused(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(mcp_http_api_key=KEY)
    monkeypatch.setenv("MCP_HTTP_API_KEY", KEY)
    assert refused().startswith("MCP_HTTP_API_KEY in MCP_HTTP_SECRETS_DIR is in the environment as well")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"mcp_http_api_key": ""}, "MCP_HTTP_API_KEY in MCP_HTTP_SECRETS_DIR is empty"),
        ({"mcp_http_api_key": " \n"}, "MCP_HTTP_API_KEY in MCP_HTTP_SECRETS_DIR is empty"),
        ({"database_url": "\n"}, "DATABASE_URL in MCP_HTTP_SECRETS_DIR is empty"),
        ({"mcp_http_api_key": b"\xff\xfe" + KEY.encode()}, "is not UTF-8 text"),
        ({"mcp_http_api_key": KEY, "MCP_HTTP_API_KEY": KEY}, "has two files"),
        (
            {"mcp_http_config_file": "/etc/x"},
            "MCP_HTTP_CONFIG_FILE in MCP_HTTP_SECRETS_DIR belongs into the environment",
        ),
        (
            {"mcp_http_secrets_dir": "/etc/x"},
            "MCP_HTTP_SECRETS_DIR in MCP_HTTP_SECRETS_DIR belongs into the environment",
        ),
        ({"mcp_http_api_keys": "hunter2"}, "MCP_HTTP_API_KEYS"),
        ({"mcp_http_port": "hunter2"}, "PORT"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_never_quoted(put: Put, files: dict[str, str], words: str) -> None:
    put(**files)
    assert words in refused()


def test_a_file_that_may_not_be_read_is_refused(put: Put) -> None:
    (put(mcp_http_api_key=KEY) / "mcp_http_api_key").chmod(0)
    if os.access(os.environ["MCP_HTTP_SECRETS_DIR"] + "/mcp_http_api_key", os.R_OK):
        pytest.skip("this account may read every file")
    assert "cannot be read" in refused()


def test_a_directory_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "nowhere", Path(__file__)):
        monkeypatch.setenv("MCP_HTTP_SECRETS_DIR", str(path))
        assert "which is not a directory that can be read" in refused()


def test_a_directory_that_is_named_elsewhere_than_in_the_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is read from the environment alone"):
        Settings(api_key=KEY, secrets_dir=tmp_path)


@pytest.mark.anyio
async def test_a_changed_file_is_noticed_by_itself(put: Put) -> None:
    import asyncio

    put(mcp_http_api_key=KEY, mcp_http_require_https="false")
    app = TenantryMiddleware(Echo())
    assert app._start is not None
    before = app.front
    app._start()
    put(mcp_http_api_key=NEW)
    async with asyncio.timeout(20):
        while app.front is before:  # noqa: ASYNC110 - looked at once a second by a task that tells nobody
            await asyncio.sleep(0.05)
    assert [(await ask(app, headers=[("x-api-key", key)])).status for key in (KEY, NEW)] == [401, 200]
    await app.aclose()
