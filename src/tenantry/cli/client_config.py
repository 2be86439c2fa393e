"""Print the configuration of an MCP client for a server behind tenantry. The configuration alone is on standard output;
where it goes, links that install it, and what to know are on standard error. No secret is in it: an API key is referred
to by the name of an environment variable.

Exit codes: 0 printed; 2 usage or configuration error."""

from __future__ import annotations

import argparse
import json
import re
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .words import say

_NAMES = "claude-code claude-desktop cursor vscode codex gemini-cli mcp-inspector mcp-remote".split()
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what all of them take as a key, a table's name and a word of a shell
_CLIENT_ID = re.compile(r"[\w.:/@~-]{1,512}", re.ASCII)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", choices=_NAMES, help="the client")
    parser.add_argument("--url", help="of the server, as users type it (default: MCP_HTTP_PUBLIC_URL)")
    parser.add_argument("--name", help="of the server in the client (default: from the host)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--api-key", action="store_true", help="send an API key, instead of letting the user sign in")
    how.add_argument("--client-id", metavar="ID", help="sign in as this OAuth client, which you have registered")
    parser.add_argument("--variable", metavar="NAME", help="environment variable of the key (default: NAME_API_KEY)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    from .clients import Server, configuration

    url = _checked(arguments.url or _public_url())
    name = arguments.name or _name_of(url)
    variable = arguments.variable or f"{re.sub(r'[^A-Z0-9]', '_', name.upper())}_API_KEY"
    if not _NAME.fullmatch(name):
        raise ConfigurationError("--name is 1 to 64 letters, digits, - and _, because every client takes those.")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise ConfigurationError("--variable is not the name of an environment variable.")
    if arguments.client_id is not None and not _CLIENT_ID.fullmatch(arguments.client_id):
        raise ConfigurationError("--client-id has characters that no client id has.")
    made = configuration(
        arguments.client, Server(name, url, variable if arguments.api_key else None, arguments.client_id)
    )
    if arguments.json:
        fields = ("client", "kind", "language", "text", "files", "links", "notes")
        print(json.dumps({field: getattr(made, field) for field in fields}, indent=2))
        return 0
    print(made.text)
    for what, place in made.files.items():
        say(f"{what}: {place}")
    for what, link in made.links.items():
        say(f"install in {what}: {link}")
    for note in made.notes:
        say(note)
    return 0


def _public_url() -> str:
    from ..settings import Settings

    # Only the one setting is asked for: what a server would need besides need not be here.
    url = Settings(environment="development", host="127.0.0.1", api_key="none").public_url
    if url is None:
        raise ConfigurationError("No URL: give --url https://mcp.example.com/mcp, or set MCP_HTTP_PUBLIC_URL.")
    return url


def _checked(url: str) -> str:
    """The URL goes into shell commands, so it is held to the characters of one."""
    parts = urlsplit(url)
    plain = re.fullmatch(r"[A-Za-z0-9._~:/\[\]%-]+", url) is not None
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    if not (plain and secure and parts.hostname) or parts.username:
        raise ConfigurationError(
            "--url is not of the form https://mcp.example.com/mcp (http only to 127.0.0.1, without query)."
        )
    return url


def _name_of(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if host in _LOCAL or host.replace(".", "").isdecimal() or ":" in host:
        return "local"
    labels = [label for label in host.split(".") if label not in ("www", "mcp", "api")]
    return labels[0] if labels else "mcp"
