"""``python -m tenantry.devidp [--port 9400] [--settings-for URL] [--sign-in PERSON]``: serve the development identity
provider until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import sys

from tenantry.errors import ConfigurationError

from .app import DevIdp, refuse_outside_development

_PORT = 9400
_SERVER = "http://127.0.0.1:8000/mcp"


def run(port: int = _PORT, server: str = _SERVER, sign_in: str | None = None) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM, after a summary on standard output."""
    refuse_outside_development()
    idp = DevIdp(auth0_audience=server, sign_in=sign_in)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(idp, port, server))


async def _serve(idp: DevIdp, port: int, server: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers: there asyncio.run turns SIGINT into a cancellation.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with idp.serve(port=port):
        sys.stdout.write(summary(idp, server))
        sys.stdout.flush()
        await stop.wait()


def summary(idp: DevIdp, server: str) -> str:
    """URLs, settings to export, how to sign in, sample tokens and calls to try."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in idp.settings(server).items()]
    person = idp.auth0.authorization.sign_in
    page = "a page asks who you are" if person is None else f"it is {person.key} at once, without a page"
    samples = {
        "Google ID token of ann (Workspace acme.example)": idp.google.id_token("ann"),
        "Google access token of carol (gmail.com)": idp.google.access_token("carol"),
        "Auth0 access token of erin (an organisation)": idp.auth0.access_token("erin"),
        "GitHub token of octo": idp.github.token("octo"),
    }
    machine = f"-d client_id={idp.auth0.client_id} -d client_secret={idp.auth0.client_secret}"
    wish = f"-d grant_type=client_credentials -d resource={shlex.quote(server)}"
    mint = json.dumps({"provider": "google", "kind": "id_token", "person": "bob"})
    return "\n".join(
        [
            f"Development identity provider on {idp.base_url} (Google, Auth0, GitHub; made-up people)",
            "",
            f"Settings of a server at {server} that trusts it (of another: --settings-for URL):",
            *exports,
            "",
            f"Sign in: give {server} to any MCP client that does OAuth; {page}.",
            "It finds Auth0's face and registers there. Google's and GitHub's faces only mint tokens: neither of them",
            "registers clients that it does not know. A client that cannot register, or a machine, has id and secret:",
            f"curl -s {idp.base_url}/oauth/token {wish} {machine}",
            "",
            "Sample tokens:",
            *(f"# {what}\n{token}" for what, token in samples.items()),
            "",
            "More of them:",
            f"curl -s {idp.base_url}/_devidp/tokens -H 'content-type: application/json' -d '{mint}'",
            f"curl -s {idp.base_url}/_devidp/people",
            "",
            "",
        ]
    )


def main() -> None:
    """The command line; exits with 2 and one sentence where it must not run."""
    parser = argparse.ArgumentParser(prog="python -m tenantry.devidp", description=__doc__)
    parser.add_argument("--port", type=int, default=_PORT, help=f"port on 127.0.0.1 (default {_PORT}; 0: any)")
    parser.add_argument(
        "--settings-for",
        "--audience",
        dest="server",
        metavar="URL",
        default=_SERVER,
        help=f"URL of the MCP server: what tokens are for, and what its printed settings say (default {_SERVER})",
    )
    parser.add_argument(
        "--sign-in", metavar="PERSON", help="sign this person in without showing a page (ann, erin, ...)"
    )
    options = parser.parse_args()
    try:
        run(options.port, options.server, options.sign_in)
    except (ConfigurationError, LookupError, OSError) as refused:  # nobody of that name; the port is taken
        sys.exit(f"error: {refused}")


if __name__ == "__main__":
    main()
