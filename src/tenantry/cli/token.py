"""Say what this server would make of a token: which provider judges it, every check in order with its outcome, the
user, tenant and permissions that result. The token is read from standard input, or asked for without showing it; it is
never an argument, and neither it nor a part of its signature is ever printed.

Exit codes: 0 valid; 1 refused, or not decided (--offline, or a provider that is down); 2 usage or configuration."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigurationError
from .words import table

if TYPE_CHECKING:
    from ..settings import Settings
    from .explaining import Explanation

_LONGEST_INPUT = 65_536  # characters; a credential has 16 KiB at most
_MARKS = {"passed": "ok", "refused": "REFUSED", "unknown": "unknown", "skipped": "-"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="explain", help="explain the token on standard input")
    # Taken so that the parser does not print them in a usage error: what is put here is a token.
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--token", help=argparse.SUPPRESS)
    parser.add_argument("--offline", action="store_true", help="ask nobody: structure and claims only, never valid")
    parser.add_argument(
        "--x-api-key", action="store_true", help="as if it came in the header X-API-Key, not in Authorization"
    )
    parser.add_argument("--provider", metavar="NAME", help="refuse it unless this provider judges it, like auth0")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action != "explain" or arguments.words or arguments.token:
        raise ConfigurationError(
            "A token is never an argument, because other users of this machine and the shell's history would have it: "
            "write `tenantry token explain` and paste it, or `tenantry token explain < file`."
        )
    from ..settings import Settings

    settings = Settings()
    secret, source = _read(x_api_key=arguments.x_api_key)
    told = _explain(settings, secret, source, arguments)
    report = _report(told, settings)
    print(json.dumps(report, indent=2) if arguments.json else _text(told, report))
    return 0 if told.verdict == "valid" else 1


def _read(*, x_api_key: bool) -> tuple[bytes, Literal["bearer", "x-api-key"]]:
    """The credential, and which header it would come in. A whole header line may be pasted."""
    if sys.stdin.isatty():
        import getpass

        text = getpass.getpass("Token (not shown): ")
    else:
        text = sys.stdin.read(_LONGEST_INPUT + 1)
    text = text.strip()
    if not text or len(text) > _LONGEST_INPUT or len(text.splitlines()) != 1:
        raise ConfigurationError("Standard input has to hold one token and nothing else.")
    name, colon, value = text.partition(":")
    if colon and name.strip().lower() in ("authorization", "x-api-key"):
        x_api_key, text = name.strip().lower() == "x-api-key", value.strip()
    if not x_api_key and text[:7].lower() == "bearer ":
        text = text[7:].strip()
    return text.encode("utf-8", "surrogateescape"), "x-api-key" if x_api_key else "bearer"


def _explain(
    settings: Settings, secret: bytes, source: Literal["bearer", "x-api-key"], arguments: argparse.Namespace
) -> Explanation:
    import asyncio
    import logging

    from .explaining import explain

    logging.getLogger("tenantry").setLevel(logging.CRITICAL)  # what it would log, it says
    return asyncio.run(explain(settings, secret, source=source, hint=arguments.provider, offline=arguments.offline))


def _report(told: Explanation, settings: Settings) -> dict[str, Any]:
    from .explained import SHOWN_CLAIMS, advice

    refusal, token, user = told.refusal, told.token, told.user
    return {
        "verdict": told.verdict,
        "provider": told.provider,
        "answer": None
        if refusal is None
        else {
            "status": refusal.status,
            "error": refusal.error,
            "reason": refusal.reason,
            "description": refusal.description,
        },
        "header": None if token is None else {"alg": token.algorithm, "kid": token.kid, "typ": token.type},
        "claims": {name: told.claims[name] for name in SHOWN_CLAIMS if name in told.claims},
        "other_claims": sorted(set(told.claims) - set(SHOWN_CLAIMS)),
        "checks": [
            {"name": step.name, "outcome": step.outcome, "reason": step.reason, "text": step.text}
            for step in told.steps
        ],
        "user": None
        if user is None
        else {
            "user_id": user.user_id,
            "tenant_id": user.tenant_id,
            "email": user.email,
            "email_verified": user.email_verified,
            "roles": sorted(user.roles),
            "permissions": sorted(user.permissions),
            "permissions_from": told.granted,
            "client_id": user.client_id,
            "expires_at": user.expires_at,
        },
        "tenant_from": None if told.tenant is None else told.tenant.source,
        "advice": advice(told, settings, time.time()),
    }


def _text(told: Explanation, report: dict[str, Any]) -> str:
    from .explained import shown

    parts = []
    if report["header"]:
        claims = {**report["header"], **report["claims"]}
        rows = [[name, shown(value)] for name, value in claims.items() if value is not None]
        if report["other_claims"]:
            rows.append(["also has", shown(" ".join(report["other_claims"]))])
        parts.append("It says of itself:\n" + _indented(rows))
    if told.steps:
        rows = [[_MARKS[step.outcome], step.name, step.text] for step in told.steps]
        parts.append("Checks:\n" + _indented(rows))
    if told.user is not None:
        parts.append("Result:\n" + _indented(_result(report["user"])))
    parts.append("\n".join([_verdict(report), *(f"  {line}" for line in report["advice"])]))
    return "\n\n".join(parts)


def _indented(rows: list[list[str]]) -> str:
    return "\n".join(f"  {line}" for line in table(rows).splitlines())


def _result(user: dict[str, Any]) -> list[list[str]]:
    rows = [["user", user["user_id"]], ["tenant", user["tenant_id"]]]
    rows.append(["permissions", " ".join(user["permissions"]) or "none"])
    rows += [["", f"{' '.join(granted)}: from {source}"] for source, granted in user["permissions_from"].items()]
    return rows


def _verdict(report: dict[str, Any]) -> str:
    if report["verdict"] == "valid":
        return "Valid: a request with it is let in."
    answer = report["answer"]
    if report["verdict"] == "refused":
        return f"Refused: {answer['status']} {answer['error']}, {answer['description']} (reason {answer['reason']})."
    if answer is None or answer["reason"] in ("keys_unavailable", "provider_unavailable"):
        return "Not decided: who vouches for it was not heard, so it is neither valid nor refused."
    return f"Not decided: {answer['status']}, {answer['description']} (reason {answer['reason']})."
