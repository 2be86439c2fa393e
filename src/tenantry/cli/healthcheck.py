"""Ask the server on this machine whether it is alive (/livez) or ready (/readyz): the health check of a container,
which then needs no curl. The port comes from MCP_HTTP_PORT or PORT; https where MCP_HTTP_TLS_CERT_PATH is set, and then
the certificate is not checked, because it names the public host and not 127.0.0.1.

Exit codes: 0 the answer was 200; 1 it was not, or there was none; 2 usage or configuration error."""

from __future__ import annotations

import argparse
import os
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .words import say

# Imported nowhere else: a health check runs every few seconds for the life of a container.
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "localhost"})  # noqa: S104 - compared with, not listened on
_MOST_BYTES = 4096


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="another server, or the path as well (default: this one)")
    parser.add_argument("--ready", action="store_true", help="ask /readyz: also what the server needs (the database)")
    parser.add_argument(
        "--timeout", type=_seconds, default=3.0, metavar="SECONDS", help="for the whole answer (default 3)"
    )


def run(arguments: argparse.Namespace) -> int:
    url = urlsplit(arguments.url or _here())
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError("URL is not of the form http://127.0.0.1:8000.")
    path = url.path if url.path.strip("/") else ("/readyz" if arguments.ready else "/livez")
    try:
        status, body = _ask(url.scheme, url.hostname, url.port, path, arguments.timeout)
    except (OSError, ValueError) as error:
        say(f"{path}: no answer ({type(error).__name__}).")
        return 1
    if status == 200:
        return 0
    say(f"{path}: {status}{_parts(body)}")
    return 1


def _here() -> str:
    """The address that ``tenantry serve`` listens on under these settings, or an app server that honours PORT."""
    configured = _file()
    port = os.environ.get("MCP_HTTP_PORT") or os.environ.get("PORT") or configured.get("port") or 8000
    host = str(os.environ.get("MCP_HTTP_HOST") or configured.get("host") or "")
    host = "127.0.0.1" if host in _WILDCARDS else f"[{host}]" if ":" in host else host
    secure = os.environ.get("MCP_HTTP_TLS_CERT_PATH") or configured.get("tls_cert_path")
    if not str(port).isdecimal():
        raise ConfigurationError("MCP_HTTP_PORT (or PORT) is not a number.")
    return f"{'https' if secure else 'http'}://{host}:{port}"


def _file() -> dict[str, Any]:
    path = os.environ.get("MCP_HTTP_CONFIG_FILE")
    if not path:
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError):
        raise ConfigurationError("MCP_HTTP_CONFIG_FILE cannot be read.") from None


def _ask(scheme: str, host: str, port: int | None, path: str, timeout: float) -> tuple[int, bytes]:
    import http.client

    connection: http.client.HTTPConnection
    if scheme == "https":
        import ssl

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing secret is sent
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES)
    except http.client.HTTPException as error:
        raise ValueError("not an HTTP answer") from error
    finally:
        connection.close()


def _parts(body: bytes) -> str:
    """Which part is not in order, where the server says it (``adapters/health.py``)."""
    from ..core.strict_json import parse_object

    try:
        parts = parse_object(body)
    except ValueError:
        return ""
    bad = [f"{name} {state}" for name, state in parts.items() if name != "status" and state != "ok"]
    return f", {'; '.join(bad)}" if bad else ""


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError("between 0 and 60")
    return seconds
