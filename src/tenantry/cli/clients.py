"""The configuration of each MCP client for one server: pure text, from which ``tenantry client-config`` and the pages
of docs/clients are made. Tried on 2026-11-21 with Claude Code 2.1.197, Codex 0.169.0, Gemini CLI 0.61.0, MCP Inspector
2.12.0 and mcp-remote 0.15.1; Cursor, VS Code and Claude Desktop follow their documentation of that day.

A secret is never in it: an API key is a reference to an environment variable, an input that the client asks for, or a
file beside it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["file", "command"]
_BRIDGE = "mcp-remote@0.15"  # --header-file is younger than what npx may have kept


@dataclass(frozen=True, slots=True)
class Server:
    """What is configured: ``variable`` is the environment variable with the API key, None where a client signs in;
    ``client_id`` an OAuth client that was registered beforehand, None where the client registers itself."""

    name: str
    url: str
    variable: str | None = None
    client_id: str | None = None

    @property
    def local(self) -> bool:
        return self.url.startswith("http://")


@dataclass(frozen=True, slots=True)
class Configuration:
    """``text`` goes into one of ``files`` (place by what it is for) or, for a command, into a shell; ``links`` open the
    client with it; ``notes`` are sentences."""

    client: str
    kind: Kind
    language: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def configuration(client: str, server: Server) -> Configuration:
    """The configuration of ``client`` (one of ``CLIENTS``)."""
    return CLIENTS[client](server)


def _claude_code(server: Server) -> Configuration:
    words = ["claude mcp add --transport http"]
    notes = []
    if server.client_id:
        words.append(f"--client-id {server.client_id} --callback-port 8080")
        notes.append("Register http://localhost:8080/callback as a redirect URI of that client.")
    words.append(f"{server.name} {server.url}")
    if server.variable:
        words.append(f"--header 'Authorization: Bearer ${{{server.variable}}}'")
        notes += [
            f"Set {server.variable} where `claude` starts: an unset one is sent as literal text (placeholder_sent).",
            "The single quotes keep the shell from putting the key itself into the file.",
        ]
    else:
        notes.append("Sign in with /mcp inside Claude Code, or `claude mcp login`.")
    return Configuration(
        "claude-code",
        "command",
        "sh",
        " ".join(words),
        {"written by it, for you": "~/.claude.json", "with --scope project, for a team": ".mcp.json"},
        notes=tuple(notes),
    )


def _claude_desktop(server: Server) -> Configuration:
    notes = ["This file starts programs on the same machine only, so mcp-remote (Node 20 or newer) is the bridge."]
    if not server.variable:
        notes.append("Without an API key a connector is simpler: Settings, Connectors, Add custom connector.")
    else:
        notes.append(_header_file_note(server))
    entry = {"command": "npx", "args": ["-y", *_remote_arguments(server)]}
    return Configuration(
        "claude-desktop",
        "file",
        "json",
        _json({"mcpServers": {server.name: entry}}),
        {
            "macOS": "~/Library/Application Support/Claude/claude_desktop_config.json",
            "Windows": r"%APPDATA%\Claude\claude_desktop_config.json",
            "Linux": "~/.config/Claude/claude_desktop_config.json",
        },
        notes=tuple(notes),
    )


def _cursor(server: Server) -> Configuration:
    entry: dict[str, Any] = {"url": server.url}
    notes = []
    if server.variable:
        entry["headers"] = {"Authorization": f"Bearer ${{env:{server.variable}}}"}
        notes.append(f"Set {server.variable} where Cursor starts; from a desktop icon that is not your shell.")
    elif server.client_id:
        entry["auth"] = {"CLIENT_ID": server.client_id}
        notes.append("Register cursor://anysphere.cursor-mcp/oauth/callback as a redirect URI of that client.")
    packed = base64.b64encode(json.dumps(entry).encode()).decode()
    link = f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(server.name)}&config={quote(packed, safe='')}"
    return Configuration(
        "cursor",
        "file",
        "json",
        _json({"mcpServers": {server.name: entry}}),
        {"for you": "~/.cursor/mcp.json", "for a project": ".cursor/mcp.json"},
        {"Cursor": link},
        tuple(notes),
    )


def _vscode(server: Server) -> Configuration:
    entry: dict[str, Any] = {"type": "http", "url": server.url}
    inputs = []
    notes = ["The top-level key is `servers`; VS Code compares the server's `resource` with this URL letter by letter."]
    if server.variable:
        name = f"{server.name}-api-key"
        inputs = [{"type": "promptString", "id": name, "description": f"API key of {server.name}", "password": True}]
        entry["headers"] = {"Authorization": f"Bearer ${{input:{name}}}"}
        notes.append("VS Code asks for the key once and keeps it in its secret storage.")
    elif server.client_id:
        notes.append(f"VS Code asks for the client id when the provider registers nobody: {server.client_id}.")
        notes.append("Register http://127.0.0.1:33418/ and https://vscode.dev/redirect as its redirect URIs.")
    document: dict[str, Any] = {"inputs": inputs} if inputs else {}
    installed = {"name": server.name, **entry, **document}
    query = quote(json.dumps(installed, separators=(",", ":")), safe="")
    return Configuration(
        "vscode",
        "file",
        "json",
        _json({**document, "servers": {server.name: entry}}),
        {"for a workspace": ".vscode/mcp.json", "for you": "the command MCP: Open User Configuration"},
        {"VS Code": f"vscode:mcp/install?{query}", "VS Code Insiders": f"vscode-insiders:mcp/install?{query}"},
        tuple(notes),
    )


def _codex(server: Server) -> Configuration:
    lines = [f"[mcp_servers.{server.name}]", f"url = {json.dumps(server.url)}"]
    notes = [
        (
            "`headers` is ignored there; a header with a fixed value is `http_headers`, one out of the environment "
            "`env_http_headers`."
        )
    ]
    if server.variable:
        lines.append(f"bearer_token_env_var = {json.dumps(server.variable)}")
        notes.append(f"Set {server.variable} where Codex starts.")
    else:
        notes.append(f"Sign in with `codex mcp login {server.name}`.")
    if server.client_id:
        lines += ["", f"[mcp_servers.{server.name}.oauth]", f"client_id = {json.dumps(server.client_id)}"]
    return Configuration(
        "codex",
        "file",
        "toml",
        "\n".join(lines),
        {"for you": "~/.codex/config.toml", "for a trusted project": ".codex/config.toml"},
        notes=tuple(notes),
    )


def _gemini_cli(server: Server) -> Configuration:
    entry: dict[str, Any] = {"httpUrl": server.url}
    notes = ["`url` alone would mean the old SSE transport."]
    if server.variable:
        entry["headers"] = {"Authorization": f"Bearer ${{{server.variable}}}"}
        notes.append(f"Set {server.variable} where `gemini` starts.")
    else:
        if server.client_id:
            entry["oauth"] = {"enabled": True, "clientId": server.client_id}
        notes.append(f"Sign in with /mcp auth {server.name}. Gemini CLI insists on `iss` in the answer (RFC 9207).")
    return Configuration(
        "gemini-cli",
        "file",
        "json",
        _json({"mcpServers": {server.name: entry}}),
        {"for you": "~/.gemini/settings.json", "for a project": ".gemini/settings.json"},
        notes=tuple(notes),
    )


def _mcp_inspector(server: Server) -> Configuration:
    words = ["npx @modelcontextprotocol/inspector --cli --transport http", f"--server-url {server.url}"]
    notes = ["Node 22.19 or newer. Without --cli and --method it opens the same in a browser."]
    if server.variable:
        words.append(f'--header "Authorization: Bearer ${server.variable}"')
        notes.append(
            f"The shell puts the value of {server.variable} in, where other users may see it in the process list."
        )
    words.append("--method tools/list")
    return Configuration("mcp-inspector", "command", "sh", " ".join(words), notes=tuple(notes))


def _mcp_remote(server: Server) -> Configuration:
    notes = ["A bridge for clients that start local programs only."]
    if server.variable:
        notes.append(_header_file_note(server))
    words = " ".join(
        word if re.fullmatch(r"[\w@%+=:,./-]+", word) else f"'{word}'" for word in _remote_arguments(server)
    )
    return Configuration("mcp-remote", "command", "sh", f"npx -y {words}", notes=tuple(notes))


def _remote_arguments(server: Server) -> list[str]:
    words = [_BRIDGE, server.url, "--transport", "http-only"]
    if server.variable:
        words += ["--header-file", f"/absolute/path/to/{server.name}-headers.txt"]
    elif server.client_id:
        words += ["--static-oauth-client-info", json.dumps({"client_id": server.client_id})]
    if server.local and not re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])[:/]", server.url):
        words.append("--allow-http")
    return words


def _header_file_note(server: Server) -> str:
    return (
        f"The file {server.name}-headers.txt has one line, `Authorization: Bearer <the key>`, and mode 0600; its path "
        "is written out, because `~` is not expanded."
    )


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2)


CLIENTS: dict[str, Callable[[Server], Configuration]] = {
    "claude-code": _claude_code,
    "claude-desktop": _claude_desktop,
    "cursor": _cursor,
    "vscode": _vscode,
    "codex": _codex,
    "gemini-cli": _gemini_cli,
    "mcp-inspector": _mcp_inspector,
    "mcp-remote": _mcp_remote,
}
