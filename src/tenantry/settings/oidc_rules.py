"""What the entries of MCP_HTTP_OIDC_PROVIDERS must be together, and beside the other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..providers.google import ISSUERS
from .rules import is_loopback_url

if TYPE_CHECKING:
    from . import Settings
    from .oidc import OidcEntry

_GITHUB_ACTIONS = "token.actions.githubusercontent.com"
# Whose tokens say something else than they seem to, unless the preset reads them.
_PRESETS = {
    "login.microsoftonline.com": "entra",
    "login.microsoftonline.us": "entra",
    "login.partner.microsoftonline.cn": "entra",
    "sts.windows.net": "entra",
    "appleid.apple.com": "apple",
    "securetoken.google.com": "firebase",
    "gitlab.com": "gitlab-ci",  # whose jobs get tokens for any audience, as its people do
}
_PRESETS_BELOW = {
    ".okta.com": "okta",
    ".oktapreview.com": "okta",
    ".okta-emea.com": "okta",
    ".amazonaws.com": "cognito",
    ".supabase.co": "supabase",
}


def _refuse(entry: OidcEntry, member: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"MCP_HTTP_OIDC_PROVIDERS: entry {entry.name!r}, member {member!r}: {problem}.")


def check_oidc(settings: Settings) -> None:
    """Raise ``ConfigurationError``, naming entry and member, for the first rule that does not hold."""
    names: set[str] = set()
    issuers = dict.fromkeys(ISSUERS, "google")
    if settings.auth0_issuer is not None:
        issuers[settings.auth0_issuer] = "auth0"
    for entry in settings.oidc_providers or ():
        if entry.name in names:
            raise _refuse(entry, "name", "two entries have it")
        names.add(entry.name)
        for member, url in entry.urls():
            _check_url(settings, entry, member, url)
        for issuer in entry.issuer_settings(settings.clock_skew).issuers:
            other = issuers.setdefault(issuer, entry.name)
            if other == "google" and entry.preset == "google-workload":  # google.py hands on what is for this one
                issuers[issuer] = entry.name
            elif other != entry.name:
                raise _refuse(entry, "issuer", f"{issuer!r} is the issuer of {other!r} already")
            _check_maker(entry, urlsplit(issuer).hostname or "")
        if entry.preset == "google-workload" and settings.google_service_accounts is not None:
            problem = "MCP_HTTP_GOOGLE_SERVICE_ACCOUNTS lets service accounts in, too: make each a rule, and unset it"
            raise _refuse(entry, "rules", problem)


def _check_maker(entry: OidcEntry, host: str) -> None:
    if (
        host == _GITHUB_ACTIONS and entry.preset != "github-actions"
    ):  # anybody's workflow can ask it for a token with our audience
        problem = 'it signs for everybody\'s workflows, whatever the audience: use "preset": "github-actions"'
        raise _refuse(entry, "issuer", problem)
    below = (preset for suffix, preset in _PRESETS_BELOW.items() if host.endswith(suffix))
    preset = _PRESETS.get(host) or next(below, None)
    if preset is not None and entry.preset is None:
        raise _refuse(entry, "preset", f'tokens of {host} need "preset": "{preset}" to be read rightly')


def _check_url(settings: Settings, entry: OidcEntry, member: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _refuse(entry, member, "it is not a URL") from None
    query = parts.query and not member.startswith("jwks_uri")  # Entra ID has keys for one app behind ?appid=
    odd = not parts.hostname or query or parts.fragment or "@" in parts.netloc
    if odd or not url.isascii() or not url.isprintable() or " " in url:
        raise _refuse(entry, member, "it is not an address of the form https://host/path")
    if parts.scheme != "https" and not (settings.development and is_loopback_url(url)):
        raise _refuse(entry, member, "it must be https (http only to 127.0.0.1, in development)")
