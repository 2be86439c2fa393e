"""Write a commented .env for a server: asks on a terminal, or takes the answers as options. Secrets are asked for
without showing them, or taken from the environment under their own names; they are never options. What is written has
been accepted by the same checks that a server makes at start.

Exit codes: 0 written; 2 usage or configuration error, and nothing is written."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .words import say

if TYPE_CHECKING:
    from .dotenv import Answers

PROVIDERS = ("google", "auth0", "github", "api-key")
PLATFORMS = ("local", "docker", "railway", "render", "fly", "kubernetes")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--provider", action="append", choices=PROVIDERS, help="who may vouch; may be repeated")
    parser.add_argument("--platform", choices=PLATFORMS, help="where it runs (default on a pipe: local)")
    parser.add_argument("--public-url", metavar="URL", help="what users type, like https://mcp.example.com/mcp")
    parser.add_argument("--google-client-id", metavar="ID", help="OAuth client ids of your project, with commas")
    parser.add_argument("--auth0-domain", metavar="HOST", help="like acme.eu.auth0.com")
    parser.add_argument("--auth0-audience", metavar="ID", help="identifier of your API in Auth0")
    parser.add_argument("--github-client-id", metavar="ID", help="of your OAuth app or GitHub App")
    parser.add_argument("--key-name", default="first", metavar="NAME", help="what the API key is for (default: first)")
    parser.add_argument("--tenant", metavar="TENANT_ID", help="tenant of the API key (default: one of its own)")
    parser.add_argument("--database", action="store_true", help="with a tenant database; its URL is asked for")
    parser.add_argument("--file", type=Path, default=Path(".env"), metavar="FILE", help="default: .env")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    from .dotenv import check, compose, next_steps

    if os.path.lexists(arguments.file) and not arguments.force:
        raise ConfigurationError(f"{arguments.file} is there already: --force writes over it, --file names another.")
    answers = _answers(arguments)
    made = compose(answers)
    check(made)
    _write(arguments.file, made.text)
    steps = next_steps(answers, arguments.file)
    if arguments.json:
        key = {} if made.key is None else {"api_key": made.key}
        names = [name for name, _ in made.values]
        print(json.dumps({"file": str(arguments.file), "settings": names, **key, "next": steps}, indent=2))
        return 0
    say(f"{arguments.file} has been written, readable by you alone.")
    if made.key is not None:
        say("The API key, shown this once (the file has its digest):")
        print(made.key, flush=True)
    say("\n".join(steps))
    return 0


def _answers(arguments: argparse.Namespace) -> Answers:
    from .dotenv import Answers

    asking = sys.stdin.isatty() and not arguments.json
    if not asking and not arguments.provider:
        raise ConfigurationError(f"--provider is missing: {', '.join(PROVIDERS)}; it may be repeated.")
    platform = arguments.platform or (_choose("Where does it run?", PLATFORMS) if asking else "local")
    providers = arguments.provider or _choose_several("Who may vouch for callers?", PROVIDERS)
    said = {
        "google_client_id": arguments.google_client_id,
        "auth0_domain": arguments.auth0_domain,
        "auth0_audience": arguments.auth0_audience,
        "github_client_id": arguments.github_client_id,
        "public_url": arguments.public_url,
    }
    for name in _needed(providers, platform):
        if said[name] is None:
            said[name] = _ask(name, asking)
    database = arguments.database or (asking and _yes("A tenant database?"))
    return Answers(
        providers=tuple(dict.fromkeys(providers)),
        platform=platform,
        key_name=arguments.key_name,
        tenant=arguments.tenant,
        github_client_secret=_secret("MCP_HTTP_GITHUB_CLIENT_SECRET", asking) if "github" in providers else None,
        database=_database(platform, asking) if database else None,
        with_database=database,
        **said,
    )


def _needed(providers: list[str], platform: str) -> list[str]:
    needed = []
    if "google" in providers:
        needed.append("google_client_id")
    if "auth0" in providers:
        needed += ["auth0_domain", "auth0_audience"]
    if "github" in providers:
        needed.append("github_client_id")
    if platform != "local" and set(providers) - {"api-key"}:
        needed.append("public_url")
    return needed


_QUESTIONS = {
    "google_client_id": "OAuth client ids of your Google project, with commas",
    "auth0_domain": "Auth0 domain, like acme.eu.auth0.com",
    "auth0_audience": "Identifier of your API in Auth0 (best: the public URL)",
    "github_client_id": "Client id of your GitHub app",
    "public_url": "Public URL, exactly as users type it, like https://mcp.example.com/mcp",
}


def _ask(name: str, asking: bool) -> str:
    if not asking:
        raise ConfigurationError(f"--{name.replace('_', '-')} is missing: {_QUESTIONS[name]}.")
    answer = ""
    while not answer:
        answer = _line(f"{_QUESTIONS[name]}: ")
    return answer


def _line(question: str) -> str:
    """The question goes to standard error: standard output has the key alone. Raises ``ConfigurationError`` at the
    end of the input."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise ConfigurationError("The input ended before all was answered; nothing has been written.")
    return line.strip()


def _choose(question: str, choices: tuple[str, ...]) -> str:
    while True:
        answer = _line(f"{question} [{'/'.join(choices)}] ({choices[0]}): ") or choices[0]
        if answer in choices:
            return answer


def _choose_several(question: str, choices: tuple[str, ...]) -> list[str]:
    while True:
        answer = _line(f"{question} Some of {', '.join(choices)}: ").replace(",", " ").split()
        if answer and set(answer) <= set(choices):
            return answer


def _yes(question: str) -> bool:
    return _line(f"{question} [y/N]: ").lower() in ("y", "yes")


def _secret(variable: str, asking: bool) -> str:
    """Out of the environment, or typed without being shown."""
    value = os.environ.get(variable)
    if value:
        return value
    if not asking:
        raise ConfigurationError(f"{variable} is not set: a secret is never an option, so put it into the environment.")
    import getpass

    value = ""
    while not value:
        value = getpass.getpass(f"{variable} (not shown): ").strip()
    return value


def _database(platform: str, asking: bool) -> str | None:
    """The connection string; None where the platform hands it in under DATABASE_URL."""
    if platform in ("railway", "render", "fly"):
        return None
    variable = "DATABASE_URL" if os.environ.get("DATABASE_URL") else "MCP_HTTP_DATABASE_CONNECTION_STRING"
    return _secret(variable, asking)


def _write(path: Path, text: str) -> None:
    """A new file of mode 0600, put in place as a whole: what was there stays until it is complete."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({(error.strerror or str(error)).lower()}).") from None
