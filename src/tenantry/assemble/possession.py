"""Settings -> who must prove to hold the key of his token, and how."""

from __future__ import annotations

import secrets

from ..core.metadata import resources
from ..core.nonces import Nonces
from ..core.proofs import ExternalUrls
from ..outside import Outside
from ..parts import Parts
from ..possession import Mode, Possession
from ..replays import Replays
from ..settings import Settings


def possession_from(settings: Settings, outside: Outside, parts: Parts) -> Possession:
    """Used proofs outlive a change of settings."""
    known = resources(settings.resource, [path.rstrip("/") for path in settings.mcp_paths or ()])
    return Possession(
        outside.clock,
        ExternalUrls.of(settings.resource, known),
        dpop_modes(settings),
        window=settings.dpop_window,
        replays=parts.get("replays", None, Replays),
        nonces=_nonces(settings, parts),
    )


def dpop_modes(settings: Settings) -> dict[str, Mode]:
    """The providers for which DPoP is on."""
    modes: dict[str, Mode] = {}
    if settings.auth0_issuer is not None and settings.auth0_dpop != "off":
        modes["auth0"] = settings.auth0_dpop
    modes |= {entry.name: entry.dpop for entry in settings.oidc_providers or () if entry.dpop is not None}
    modes |= {entry.name: entry.dpop for entry in settings.introspection_providers or () if entry.dpop is not None}
    return modes


def _nonces(settings: Settings, parts: Parts) -> Nonces | None:
    """Without a key to share, one of this process: other replicas know nothing of its nonces."""
    if settings.dpop_nonce == "off":
        return None
    key = None if settings.dpop_nonce_key is None else settings.dpop_nonce_key.get_secret_value()
    return parts.get("nonces", key, lambda: Nonces(key.encode() if key else secrets.token_bytes(32)))
