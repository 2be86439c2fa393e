"""Kubernetes: a service account of one cluster, by the tokens that the cluster projects into its pods.

Sources: kubernetes.io, "Managing Service Accounts", "Configure Service Accounts for Pods" (service account token volume
projection, issuer discovery); KEP-1205.

* A token names its namespace and account twice, in ``sub`` and in ``kubernetes.io``: both must say the same.
* Tokens out of Secrets, the old kind, have no end, no audience and another issuer: all three are refused.
* Clusters often show their keys to nobody outside: they are then in a file (``jwks_file``), which is read again
  whenever keys would be fetched again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TokenInvalid
from ..ports import Clock, Fetch, FetchFailed, HttpRequest, HttpResponse, Observer
from .issuer import claim_at, text_at
from .workload import Platform, WorkloadProvider, WorkloadSettings

# RFC 1123 labels; account names may have dots between them.
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
SUBJECT = re.compile(rf"system:serviceaccount:({_LABEL}):({_LABEL}(?:\.{_LABEL})*)")
UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BOUND = "kubernetes.io"
_ACCOUNT = (_BOUND, "serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings(WorkloadSettings):
    """``keys_file`` holds the keys where ``keys_url`` is its file: URL."""

    keys_file: Path | None = None


class KubernetesProvider(WorkloadProvider):
    """Users are ``<name>:sa:<namespace>:<account>``."""

    settings: KubernetesSettings
    platform = Platform(
        claims={
            "sub": ("sub",),
            "serviceaccount_uid": (*_ACCOUNT, "uid"),
            "pod": (_BOUND, "pod", "name"),
            "pod_uid": (_BOUND, "pod", "uid"),
            "node": (_BOUND, "node", "name"),
        },
        pins={"sub": SUBJECT, "serviceaccount_uid": UID},
    )

    def __init__(self, settings: KubernetesSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        file = settings.keys_file
        super().__init__(settings, fetch if file is None else KeysInFile(file), clock, observe)

    def workload_of(self, claims: Mapping[str, Any]) -> str:
        found = SUBJECT.fullmatch(text_at(claims, ("sub",)) or "")
        if found is None:
            raise TokenInvalid("subject_invalid")
        said = (claim_at(claims, (_BOUND, "namespace")), claim_at(claims, (*_ACCOUNT, "name")))
        if said != found.groups():
            raise TokenInvalid(
                "subject_invalid", detail="kubernetes.io names another service account than sub, or none"
            )
        return f"sa:{found[1]}:{found[2]}"


class KeysInFile:
    """A ``Fetch`` whose every answer is the file as it is at that moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            body = await asyncio.to_thread(read_bounded, self._path, request.max_bytes)
        except OSError:
            raise FetchFailed("protocol") from None
        if len(body) > request.max_bytes:
            raise FetchFailed("too_large")
        return HttpResponse(200, {}, body)


def read_bounded(path: Path, limit: int) -> bytes:
    """The file, and one byte more than ``limit`` at most. Raises ``OSError``."""
    with path.open("rb") as file:
        return file.read(limit + 1)
