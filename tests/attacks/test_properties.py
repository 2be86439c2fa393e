"""What holds for any input and every provider (``tests/faults/subjects.py``): nothing that was changed is let in, the
verdict does not depend on what came before, and every failure is one of five answers.

``test_spellings.py`` and ``test_nothing_else_leaves.py`` say the same of two issuers in more detail.
"""

from __future__ import annotations

import ast
import base64
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.everybody import STATUSES, InProcess, everybody, resigned, token_of
from tests.attacks.test_nothing_else_leaves import JSON, PIECES
from tests.faults.subjects import KEYS, NONE, SUBJECTS, Subject
from tests.support import Door

import tenantry
from tenantry import errors
from tenantry.core import base64url
from tenantry.devidp.faults import error
from tenantry.errors import REASONS, Refusal

SIGNED = [subject for subject in SUBJECTS if subject.source == KEYS]
GATE = Path(tenantry.__file__).parent


@pytest.fixture(scope="module")
def world() -> Iterator[InProcess]:
    made = InProcess()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(world: InProcess) -> dict[str, bytes]:
    """One good token of each."""
    return {subject.name: token_of(world, subject).encode() for subject in SUBJECTS}


@pytest.fixture(scope="module")
def door(world: InProcess, tokens: dict[str, bytes]) -> Door:
    """Who has let all of them in already: remembered proofs must not help what resembles them."""
    made = everybody(world)
    for token in tokens.values():
        assert isinstance(world.verdict(made, token)[0], str)
    return made


# --- Any byte flip or base64 re-spelling is refused -------------------------------------------------------------------


@settings(max_examples=400)
@given(st.sampled_from(SUBJECTS), st.data())
def test_a_token_of_any_provider_with_one_other_byte_is_refused(
    world: InProcess, door: Door, tokens: dict[str, bytes], subject: Subject, data: st.DataObject
) -> None:
    token = tokens[subject.name]
    place = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != token[place]))
    refused(world, door, token[:place] + bytes([byte]) + token[place + 1 :])


@settings(max_examples=400)
@given(st.sampled_from(SUBJECTS), st.data())
def test_a_token_of_any_provider_that_is_cut_doubled_or_mixed_is_refused(
    world: InProcess, door: Door, tokens: dict[str, bytes], subject: Subject, data: st.DataObject
) -> None:
    token = tokens[subject.name]
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 40)))
    changed = token[:start] + data.draw(PIECES | st.just(token[start:end] * 2)) + token[end:]
    if changed not in tokens.values():
        refused(world, door, changed)


@pytest.mark.parametrize("subject", SIGNED, ids=lambda subject: subject.name)
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_no_segment_has_a_second_spelling(
    world: InProcess, door: Door, tokens: dict[str, bytes], subject: Subject, segment: int
) -> None:
    parts = tokens[subject.name].split(b".")
    part = parts[segment]
    raw = base64url.decode(part)
    standard = base64.b64encode(raw)
    last = {part[:-1] + bytes([byte]) for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"}
    padded = {
        part + b"=",
        part + b"==",
        part + b"A",
        b"A" + part,
        standard,
        base64.urlsafe_b64encode(raw),
        raw.hex().encode(),
    }
    for other in (last | padded) - {part}:
        refused(world, door, b".".join([*parts[:segment], other, *parts[segment + 1 :]]))


def refused(world: InProcess, door: Door, token: bytes) -> None:
    status, reason = world.verdict(door, token)
    assert status in (400, 401), (status, reason)  # definitive: it is not that somebody could not be asked


# --- The verdict depends neither on what is remembered nor on the order -----------------------------------------------


@pytest.fixture(scope="module")
def pool(world: InProcess, tokens: dict[str, bytes]) -> list[bytes]:
    """Good, bad and odd ones of every provider."""
    found = [*tokens.values(), b"ya29.unknown", b"gho_" + b"a" * 36, b"a.b.c", b"sk_live_x", b"\xff", b""]
    for subject in SIGNED:
        found.append(resigned(world, subject, exp=int(world.clock.now()) - 600).encode())
        found.append(resigned(world, subject, cnf={"jkt": "x"}).encode())
        found.append(tokens[subject.name][:-8] + b"AAAAAAAA")
    return found


@pytest.fixture(scope="module")
def alone(world: InProcess, pool: list[bytes]) -> list[tuple[Any, ...]]:
    """What each is answered where nothing came before."""
    return [world.verdict(everybody(world), token) for token in pool]


@settings(max_examples=60)
@given(st.data())
def test_in_any_order_and_however_often_each_credential_has_the_verdict_that_it_has_alone(
    world: InProcess, pool: list[bytes], alone: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    made = everybody(world, token_cache_size=data.draw(st.sampled_from([1, 4, 10_000])))
    for number in data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=40)):
        assert world.verdict(made, pool[number]) == alone[number]


@settings(max_examples=40)
@given(st.data())
def test_nor_does_it_depend_on_who_asks_at_the_same_moment(
    world: InProcess, pool: list[bytes], alone: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=30))
    assert world.together(everybody(world), [pool[number] for number in chosen]) == [alone[one] for one in chosen]


@pytest.mark.parametrize("subject", [one for one in SUBJECTS if one.source != NONE], ids=lambda one: one.name)
def test_an_outage_that_came_before_leaves_no_trace_in_a_verdict(
    world: InProcess, pool: list[bytes], alone: list[tuple[Any, ...]], subject: Subject
) -> None:
    made = everybody(world)
    with world.idp.faults.during(subject.provider or "", error()):
        during = [world.verdict(made, token) for token in pool]
    world.clock.advance(10)
    try:
        assert {answer[0] for answer, known in zip(during, alone, strict=True) if answer != known} <= {503}
        assert [world.verdict(made, token) for token in pool] == alone
    finally:
        world.clock.advance(-10)


# --- Nothing but a refusal comes out, with one of five statuses -------------------------------------------------------

CLAIMS = st.dictionaries(
    st.sampled_from(
        """iss aud azp sub exp iat nbf jti typ token_use kind cnf act nonce scope scp permissions roles groups email
        email_verified name picture hd tid oid uid cid appid appidacr azpacr idtyp ver xms_cc wids org_id o org_role
        fva sts v sid client_id username realm_access resource_access firebase events is_anonymous app_metadata
        user_metadata amr aal repository_id repository_owner_id project_id namespace_id kubernetes.io ref
        environment""".split()
    ),
    JSON,
    max_size=4,
)


@settings(max_examples=600)
@given(st.sampled_from(SIGNED), CLAIMS)
def test_any_claims_under_any_provider_s_good_signature_get_an_answer(
    world: InProcess, door: Door, subject: Subject, claims: dict[str, Any]
) -> None:
    token = resigned(world, subject, **{"jti": "x", **claims}).encode()
    first = world.verdict(door, token)
    assert world.verdict(door, token) == first


@settings(max_examples=300)
@given(st.binary(max_size=80), st.text(max_size=20) | st.sampled_from(["google", "okta", "api_key"]) | st.none())
def test_any_bytes_with_any_hint_get_an_answer(world: InProcess, door: Door, token: bytes, hint: str | None) -> None:
    assert world.verdict(door, token, hint)[0] in STATUSES


def test_every_reason_has_exactly_one_status() -> None:
    """Wherever a reason is raised, it is raised with one class; of those, the gate's have the five statuses."""
    classes = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Refusal)
    }
    statuses: dict[str, set[int]] = defaultdict(set)
    for path in GATE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes and node.args:
                for constant in ast.walk(node.args[0]):
                    if isinstance(constant, ast.Constant) and constant.value in REASONS:
                        statuses[str(constant.value)].add(classes[node.func.id].status)
    assert {reason: found for reason, found in statuses.items() if len(found) != 1} == {}
    assert {status for found in statuses.values() for status in found} - {413, 415, 421, 426, 500} == set(STATUSES)
