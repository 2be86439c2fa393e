"""``tenantry client-config``, and the pages of docs/clients, whose configurations are its output."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tenantry.cli.clients import CLIENTS

Run = Callable[..., subprocess.CompletedProcess[str]]
URL = "https://mcp.example.com/mcp"
PAGES = sorted((Path(__file__).parents[2] / "docs" / "clients").glob("*.md"))
# `<!-- tenantry client-config ... -->`, and the fenced block below it.
_BLOCK = re.compile(r"^<!-- tenantry (client-config [^\n]*?) -->\n+```(\w+)\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def made(run: Run) -> Callable[..., dict[str, Any]]:
    def make(client: str, *words: str) -> dict[str, Any]:
        done = run("client-config", client, "--url", URL, "--name", "notes", "--json", *words)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return make


def parsed(configuration: dict[str, Any]) -> Any:
    text = configuration["text"]
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "sh": shlex.split}
    return readers[configuration["language"]](text)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("words", [[], ["--api-key"], ["--client-id", "Iv1.0123456789abcdef"]])
def test_every_configuration_is_of_its_language_and_names_the_url(
    made: Callable[..., dict[str, Any]], client: str, words: list[str]
) -> None:
    configuration = made(client, *words)
    assert parsed(configuration)
    assert URL in configuration["text"]
    assert bool(configuration["files"]) == (client not in ("mcp-inspector", "mcp-remote"))


@pytest.mark.parametrize("client", CLIENTS)
def test_standard_output_is_the_configuration_and_nothing_else(
    run: Run, made: Callable[..., dict[str, Any]], client: str
) -> None:
    done = run("client-config", client, "--url", URL, "--name", "notes", "--api-key")
    assert done.stdout == made(client, "--api-key")["text"] + "\n"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_key_in_the_environment_is_referred_to_and_never_read(run: Run, client: str) -> None:
    done = run("client-config", client, "--url", URL, "--name", "notes", "--api-key", NOTES_API_KEY="made-up-value")
    assert "made-up-value" not in done.stdout + done.stderr


def test_claude_code_is_given_the_literal_reference_which_it_expands_itself(
    made: Callable[..., dict[str, Any]],
) -> None:
    words = parsed(made("claude-code", "--api-key"))
    assert words[:7] == ["claude", "mcp", "add", "--transport", "http", "notes", URL]
    assert words[7:] == ["--header", "Authorization: Bearer ${NOTES_API_KEY}"]


def test_vscode_has_servers_and_asks_for_the_secret(made: Callable[..., dict[str, Any]]) -> None:
    document = parsed(made("vscode", "--api-key"))
    (asked,) = document["inputs"]
    assert (asked["password"], asked["type"]) == (True, "promptString")
    assert document["servers"]["notes"] == {
        "type": "http",
        "url": URL,
        "headers": {"Authorization": f"Bearer ${{input:{asked['id']}}}"},
    }


def test_codex_names_the_variable_and_has_no_headers(made: Callable[..., dict[str, Any]]) -> None:
    document = parsed(made("codex", "--api-key"))
    assert document == {"mcp_servers": {"notes": {"url": URL, "bearer_token_env_var": "NOTES_API_KEY"}}}


def test_gemini_uses_http_url(made: Callable[..., dict[str, Any]]) -> None:
    assert parsed(made("gemini-cli"))["mcpServers"]["notes"] == {"httpUrl": URL}


def test_claude_desktop_starts_a_bridge_that_reads_the_key_from_a_file(made: Callable[..., dict[str, Any]]) -> None:
    entry = parsed(made("claude-desktop", "--api-key"))["mcpServers"]["notes"]
    assert (entry["command"], entry["args"][0]) == ("npx", "-y")
    assert entry["args"][1].startswith("mcp-remote@")
    assert "--header-file" in entry["args"]


@pytest.mark.parametrize("words", [[], ["--api-key"]])
def test_the_link_of_cursor_holds_the_same_server(made: Callable[..., dict[str, Any]], words: list[str]) -> None:
    configuration = made("cursor", *words)
    link = urlsplit(configuration["links"]["Cursor"])
    query = parse_qs(link.query, strict_parsing=True)
    assert (link.scheme, link.netloc, link.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    packed = json.loads(base64.b64decode(query["config"][0], validate=True).decode())
    assert {query["name"][0]: packed} == parsed(configuration)["mcpServers"]


@pytest.mark.parametrize("words", [[], ["--api-key"]])
def test_the_links_of_vscode_hold_the_same_server(made: Callable[..., dict[str, Any]], words: list[str]) -> None:
    configuration = made("vscode", *words)
    document = parsed(configuration)
    for editor, scheme in (("VS Code", "vscode"), ("VS Code Insiders", "vscode-insiders")):
        start, _, packed = configuration["links"][editor].partition("?")
        assert start == f"{scheme}:mcp/install"
        held = json.loads(unquote(packed))
        assert held.pop("inputs", []) == document.get("inputs", [])
        assert {held.pop("name"): held} == document["servers"]


def test_the_url_defaults_to_the_public_one_and_the_name_to_its_host(run: Run) -> None:
    done = run("client-config", "cursor", MCP_HTTP_PUBLIC_URL="https://mcp.acme.example/mcp")
    assert json.loads(done.stdout)["mcpServers"]["acme"]["url"] == "https://mcp.acme.example/mcp"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--url", "http://mcp.example.com/mcp"],
        ["--url", "https://mcp.example.com/mcp?x=1"],
        ["--url", "https://user:word@mcp.example.com/mcp"],
        ["--url", "https://mcp.example.com/$(id)"],
        ["--url", URL, "--name", "a b"],
        ["--url", URL, "--name", "x;id"],
        ["--url", URL, "--variable", "A-B", "--api-key"],
        ["--url", URL, "--client-id", "x y"],
    ],
)
def test_what_would_mean_something_else_in_a_shell_or_a_client_is_refused(run: Run, words: list[str]) -> None:
    done = run("client-config", "claude-code", *words)
    assert (done.returncode, done.stdout) == (2, "")


# --- The pages --------------------------------------------------------------------------------------------------------


def blocks() -> Iterator[tuple[str, str, str, str]]:
    for page in PAGES:
        for command, language, text in _BLOCK.findall(page.read_text()):
            yield page.name, command, language, text


def test_every_client_has_a_page_with_its_configuration() -> None:
    configured = {command.split()[1] for _, command, _, _ in blocks()}
    assert configured == set(CLIENTS)
    assert {f"{client}.md" for client in CLIENTS} <= {page.name for page in PAGES}


@pytest.mark.parametrize(("page", "command", "language", "text"), list(blocks()))
def test_the_configuration_on_a_page_is_what_the_command_prints(
    run: Run, page: str, command: str, language: str, text: str
) -> None:
    done = run(*shlex.split(command), "--json")
    found = json.loads(done.stdout)
    assert (language, text) == (found["language"], found["text"]), page


def test_every_page_is_in_the_table() -> None:
    index = (PAGES[0].parent / "README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index
