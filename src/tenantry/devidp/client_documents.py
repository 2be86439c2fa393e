"""Fetching the metadata document that a client_id names (draft-ietf-oauth-client-id-metadata-document)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tenantry.adapters.http import HttpFetch
from tenantry.ports import FetchFailed, HttpRequest

from .oauth import OAuthError

_LARGEST: Final = 5 * 1024  # the draft's section on the size of documents


async def fetch_document(url: str) -> Mapping[str, Any]:
    """The JSON object at ``url``, an https URL or an http one on this machine, with a path. No redirect is followed.
    ``OAuthError`` where there is none."""
    if not _is_identifier(url):
        raise _unusable("the URL needs a path, and has neither user nor fragment nor dot segments")
    fetch = HttpFetch(allow_loopback_http=True)
    try:
        answer = await fetch(HttpRequest("GET", url, {"accept": "application/json"}, max_bytes=_LARGEST))
    except FetchFailed as failed:
        raise _unusable(f"it could not be fetched ({failed.kind})") from None
    finally:
        await fetch.aclose()
    if answer.status != 200:
        raise _unusable(f"its server answered {answer.status}")
    try:
        document = json.loads(answer.body.decode())
    except ValueError:
        raise _unusable("it is not JSON") from None
    if not isinstance(document, dict):
        raise _unusable("it is not a JSON object")
    return document


def _is_identifier(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = port != 0 and parts.username is None and "#" not in url and "\\" not in url
    return plain and parts.path not in ("", "/") and not {".", ".."} & set(parts.path.split("/"))


def _unusable(why: str) -> OAuthError:
    return OAuthError("invalid_client", f"the client_id is the URL of a metadata document, and {why}", 401)
