"""A token never seen before (RS256, 2048 bits): all strict parsing and checking, against the signature alone.

"Ours" is reading the JWS, its claims as strict JSON, every claim rule, the choice of the key and the signature:
what ``providers/oidc.py`` does. The baseline is the bare ``verify`` of cryptography; PyJWT's ``decode`` with a
ready key object, audience and issuer runs by turns with it. Precedent: facts/performance.md section 1: raw 28,
strict by hand 46, PyJWT 143. Targets: 2.0 times the raw verification, and faster than PyJWT.
"""

from __future__ import annotations

import asyncio
import time

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tenantry.adapters.expiry import Message
from tenantry.core.claims import ClaimRules, check_claims
from tenantry.core.jws import parse_claims, parse_jws
from tenantry.core.keys import parse_key_set, verify_signature
from tenantry.providers.google import ISSUERS
from tenantry.testing import DevIdp

from .measure import Row, plain_rounds, rounds
from .stack import bare, drop, id_token, nothing, scope, stack

RSA256 = frozenset({"RS256"})
TOKENS_A_ROUND, ROUNDS = 100, 9


def run(*, profile: bool = False) -> list[Row]:
    idp = DevIdp()
    text = id_token(idp)
    token, audience = text.encode(), idp.google.client_id
    keys = parse_key_set(idp.google.keys.jwks())
    rules = ClaimRules(frozenset(ISSUERS), frozenset({audience}), RSA256, frozenset({"jwt", None}))
    read = parse_jws(token)
    claims = parse_claims(read)
    key = keys.choose(read.kid, "RS256")
    assert key is not None

    def ours() -> None:
        parsed = parse_jws(token)
        check_claims(parse_claims(parsed), rules, time.time())
        chosen = keys.choose(parsed.kid, parsed.algorithm)
        assert chosen is not None
        verify_signature(parsed, chosen, RSA256)

    padding, digest = PKCS1v15(), hashes.SHA256()
    seen = plain_rounds(
        {
            "raw": lambda: key.material.verify(read.signature, read.signing_input, padding, digest),
            "ours": ours,
            "pyjwt": lambda: jwt.decode(text, key.material, ["RS256"], audience=audience, issuer=list(ISSUERS)),
            "parse_jws": lambda: parse_jws(token),
            "parse_claims": lambda: parse_claims(read),
            "check_claims": lambda: check_claims(claims, rules, time.time()),
            "choose key": lambda: keys.choose(read.kid, "RS256"),
            "verify_signature": lambda: verify_signature(read, key, RSA256),
        },
        calls=400,
        count=15,
    )
    gate = asyncio.run(_whole_gate())
    if profile:
        print("\nnever-seen RS256 token (us)")
        for step in seen.us:
            print(f"  {seen.of(step):6.2f}  {step}")
        print(f"  {gate:6.2f}  whole gate, added to the bare application")
    raw, pyjwt = f"raw verify {seen.of('raw'):.1f} us", f"PyJWT decode {seen.of('pyjwt'):.1f} us"
    return [
        Row("never seen: strict decode, all checks", seen.ratio("ours", "raw"), "x", raw, "<=", 2.0),
        Row("never seen: strict decode, all checks", seen.ratio("ours", "pyjwt"), "x", pyjwt, "<=", 1.0),
        Row("never seen: whole gate, cached after", gate / seen.of("raw"), "x", raw),
        Row("never seen: whole gate, cached after", gate / seen.of("pyjwt"), "x", pyjwt),
    ]


async def _whole_gate() -> float:
    """Microseconds that the gate adds with a new token each time, its place in the cache included."""
    gated = stack(bare)
    sign = gated.idp.google.keys.sign
    base = parse_claims(parse_jws(gated.id_token.encode()))
    count = TOKENS_A_ROUND * (ROUNDS + 1)
    asked = iter([scope(sign({**base, "nonce": f"{n:022}"})) for n in range(count)])
    statuses: set[int] = set()

    async def send(message: Message) -> None:
        if "status" in message:
            statuses.add(message["status"])

    usual = scope(gated.id_token)
    seen = await rounds(
        {
            "bare": lambda: bare(usual, nothing, drop),
            "gate": lambda: gated.app(next(asked), nothing, send),
        },
        calls=TOKENS_A_ROUND,
        count=ROUNDS,
    )
    assert statuses == {200}, statuses
    return seen.added("gate", "bare")
