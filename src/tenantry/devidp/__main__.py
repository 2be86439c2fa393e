"""``python -m tenantry.devidp [--port 9400]``: serve the development identity provider until it is
interrupted."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys

from tenantry.errors import ConfigurationError

from .app import DevIdp, refuse_outside_development

_PORT = 9400


def run(port: int = _PORT) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM, after a summary on standard output."""
    refuse_outside_development()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    idp = DevIdp()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers: there asyncio.run turns SIGINT into a cancellation.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with idp.serve(port=port):
        sys.stdout.write(summary(idp))
        sys.stdout.flush()
        await stop.wait()


def summary(idp: DevIdp) -> str:
    """URLs, settings to export, sample tokens and one call to try."""
    exports = [f"export {name}='{value}'" for name, value in idp.settings().items()]
    samples = {
        "Google ID token of ann (Workspace acme.example)": idp.google.id_token("ann"),
        "Google access token of carol (gmail.com)": idp.google.access_token("carol"),
        "Auth0 access token of erin (an organisation)": idp.auth0.access_token("erin"),
        "GitHub token of octo": idp.github.token("octo"),
    }
    mint = json.dumps({"provider": "google", "kind": "id_token", "person": "bob"})
    return "\n".join(
        [
            f"Development identity provider on {idp.base_url} (Google, Auth0, GitHub; made-up people)",
            "",
            "Settings of a server that trusts it:",
            *exports,
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
    try:
        run(parser.parse_args().port)
    except (ConfigurationError, OSError) as refused:  # OSError: the port is taken
        sys.exit(f"error: {refused}")


if __name__ == "__main__":
    main()
