"""What a tenant is called in PostgreSQL: schemas and roles that no two owners share, whoever chose the names.

The domains and ids themselves are in ``test_tenancy.py``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tenantry.adapters.postgres.statements import identifier
from tenantry.core.tenancy import (
    canonical_domain,
    domain_of_email,
    encode_domain,
    opaque_schema_name,
    organization_tenant_id,
    personal_tenant_id,
    role_name,
    schema_name,
)

DEPLOYMENT = "0123456789abcdef0123456789abcdef"
_BYTES = 63  # NAMEDATALEN - 1
_ROLE_PREFIX = len("tenantry_0123456789ab_")

# --- Owners, most of them around the two lengths at which a name is cut: of the schema, and of the role --------------


def _is_canonical(text: str) -> bool:
    try:
        return canonical_domain(text) == text
    except ValueError:
        return False


_EDGE = st.sampled_from([_BYTES - len("tenant_"), _BYTES - len("tenant_") - _ROLE_PREFIX])
_SEPARATOR = st.sampled_from([".", "-", "--", "---", "----", ".a.", "-a-"])
_TAIL = st.sampled_from(["b.com", "c.com", "b.co", "b" * 30 + ".com", "b" * 29 + "c.com", "com"])
_AROUND_A_CUT = st.builds(
    lambda edge, off, mark, tail: "a" * (edge - off) + mark + tail, _EDGE, st.integers(-4, 34), _SEPARATOR, _TAIL
)
# What could be mistaken for the other kinds: the first labels look like their prefixes and marks.
_IMITATIONS = st.builds(
    lambda first, hyphens, rest: f"{first}{'-' * hyphens}{rest}.com",
    st.sampled_from(["u", "org", "t", "tenant", "tenant-u", "pg", "x"]),
    st.integers(1, 30),
    st.sampled_from(["a", "z7", "a2" * 13, "a2" * 16]),
)
_SHORT = st.lists(st.sampled_from(["a", "b", "a-b", "a--b", "u", "com"]), min_size=2, max_size=4).map(".".join)
DOMAINS = (_AROUND_A_CUT | _IMITATIONS | _SHORT).filter(_is_canonical)
PROVIDERS = st.sampled_from(["google", "auth0", "github"])
SUBJECTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
MAPPED = st.from_regex(r"[a-z][a-z0-9_]{0,47}", fullmatch=True).filter(lambda name: "___" not in name) | st.builds(
    lambda length, end: "a" * length + end, st.integers(26, 45), st.sampled_from(["", "_b", "__b", "_", "__"])
)
IDS = st.one_of(
    DOMAINS.map(encode_domain),
    st.builds(lambda provider, subject: personal_tenant_id(f"{provider}:{subject}"), PROVIDERS, SUBJECTS),
    st.builds(organization_tenant_id, PROVIDERS, SUBJECTS),
    MAPPED,
)
DEPLOYMENTS = st.text("0123456789abcdef", min_size=32, max_size=32)


def schemas_of(tenant_id: str) -> list[str]:
    return [schema_name(tenant_id), opaque_schema_name(tenant_id)]


# --- Nobody shares ----------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.sets(IDS, min_size=2, max_size=12), DEPLOYMENTS, DEPLOYMENTS)
def test_no_two_owners_share_a_schema_or_a_role_readable_opaque_or_across_the_two(
    ids: set[str], deployment: str, other: str
) -> None:
    """Nor does one owner's role in two deployments, which may be beside each other in one cluster."""
    assume(deployment[:12] != other[:12])
    schemas = [schema for tenant_id in ids for schema in schemas_of(tenant_id)]
    roles = [role_name(schema, one) for schema in schemas for one in (deployment, other)]
    assert len(set(schemas)) == len(schemas) == 2 * len(ids)
    assert len(set(roles)) == len(roles) == 4 * len(ids)


@settings(max_examples=300)
@given(IDS, DEPLOYMENTS)
def test_every_name_is_one_that_postgresql_neither_cuts_nor_reserves(tenant_id: str, deployment: str) -> None:
    for schema in schemas_of(tenant_id):
        for name in (schema, role_name(schema, deployment)):
            assert identifier(name) == f'"{name}"'
            assert len(name.encode()) <= _BYTES
            assert re.match(r"t_|tenant_|tenantry_", name)  # never pg_..., public, or a keyword


@settings(max_examples=300)
@given(IDS, DEPLOYMENTS)
def test_no_tenants_role_is_one_of_the_services(tenant_id: str, deployment: str) -> None:
    """Two underscores after the deployment: ``__owner``, ``__rest``, ``__app_007`` and whatever comes next."""
    for schema in schemas_of(tenant_id):
        assert re.match(rf"tenantry_{deployment[:12]}_[a-z0-9]", role_name(schema, deployment))


@settings(max_examples=300)
@given(IDS, DEPLOYMENTS)
def test_a_role_is_readable_as_far_as_it_fits_and_marked_where_it_is_cut(tenant_id: str, deployment: str) -> None:
    for schema in schemas_of(tenant_id):
        whole, role = f"tenantry_{deployment[:12]}_{schema}", role_name(schema, deployment)
        if len(whole) <= _BYTES:
            assert role == whole
        else:
            head, mark = role[:-29], role[-29:]
            assert re.fullmatch(r"___[a-z2-7]{26}", mark)
            assert whole.startswith(head)
            assert not head.endswith("_")


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 60), st.integers(0, 40))
def test_two_names_that_differ_only_after_byte_63_have_two_schemas_and_two_roles_row_13(
    one: int, other: int, first: int, second: int
) -> None:
    """PostgreSQL cuts both to the same 63 bytes without an error, and the second tenant reads the first one's rows."""
    assume(one != other)
    stem = f"{'a' * first}.{'b' * 60}.{'c' * second}c."
    ids = [encode_domain(f"{stem}x{number}.com") for number in (one, other)]
    assert f"tenant_{ids[0]}"[:_BYTES] == f"tenant_{ids[1]}"[:_BYTES]
    for names in ([schema_name(i) for i in ids], [role_name(schema_name(i), DEPLOYMENT) for i in ids]):
        assert names[0][:_BYTES] != names[1][:_BYTES]


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_schemas_that_differ_only_where_their_roles_are_cut_have_two_roles(one: int, other: int) -> None:
    assume(one != other)
    schemas = [schema_name(f"{'a' * 38}{number}") for number in (one, other)]
    assert schemas[0][:41] == schemas[1][:41]
    assert max(map(len, schemas)) <= _BYTES
    assert role_name(schemas[0], DEPLOYMENT) != role_name(schemas[1], DEPLOYMENT)


# --- Spellings: refused or distinct, never folded ---------------------------------------------------------------------


def schema_of_domain(text: str) -> str | None:
    """None where the spelling is refused."""
    try:
        return schema_name(encode_domain(text))
    except ValueError:
        return None


def schema_of_email(address: str) -> str | None:
    try:
        return schema_name(encode_domain(domain_of_email(address)))
    except ValueError:
        return None


def fold(text: str) -> str:
    """ASCII upper case alone: the only difference that is none (RFC 4343)."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


@pytest.mark.parametrize(
    "spellings",
    [
        ["a.b.com", "a_b.com", "a-b.com", "a--b.com"],
        ["bücher.de", "b_cher.de", "b-cher.de", "bcher.de", "xn--bcher-kva.de"],
        ["faß.de", "fa_.de", "fass.de", "xn--fa-hia.de"],
        ["gmail.com", "gmail.com.", ".gmail.com", "gmail..com", "gmail_com", "gmail-com.com"],
        ["public", "public.com", "tenant.public"],
        ["pg.toast", "pg_toast", "pg-toast.com", "pg.catalog"],
        ["tenantry", "tenantry.io", "information.schema"],
    ],
    ids=lambda spellings: spellings[0],
)
def test_what_a_naive_mapping_folds_into_one_schema_is_refused_or_distinct_row_14(spellings: list[str]) -> None:
    accepted = [schema for text in spellings if (schema := schema_of_domain(text))]
    assert len(accepted) == len(set(accepted)) > 0
    assert not {"public", "tenantry", "information_schema", "pg_catalog", "pg_toast"} & set(accepted)
    assert not [schema for schema in accepted if schema.startswith("pg_")]


@pytest.mark.parametrize(
    ("lookalike", "folds_to"),
    [
        ("faß.de", "fass.de"),
        ("\u24d6mail.com", "gmail.com"),
        ("gmail\u3002com", "gmail.com"),
        ("gmail\uff0ecom", "gmail.com"),
        ("\uff47\uff4d\uff41\uff49\uff4c.com", "gmail.com"),
        ("gma\u00adil.com", "gmail.com"),
        ("gmail\u200b.com", "gmail.com"),
        ("gma\u0131l.com", "gmail.com"),
        ("gmail.com.", "gmail.com"),
        ("gmail.com\u3002", "gmail.com"),
        ("gm\u0430il.com", "gmail.com"),
        ("\u212aelvin.com", "kelvin.com"),
        ("\u017fale.com", "sale.com"),
        ("xn--gmail-.com", "gmail.com"),
        ("xn--gmil-63d.com", "gmail.com"),  # the A-label of the Cyrillic one above: a domain of its own
    ],
)
def test_an_idn_lookalike_is_refused_or_distinct_row_15(lookalike: str, folds_to: str) -> None:
    assert schema_of_domain(folds_to) is not None
    assert schema_of_domain(lookalike) != schema_of_domain(folds_to)
    assert schema_of_email(f"ann@{lookalike}") != schema_of_email(f"ann@{folds_to}")


_CONFUSABLE = st.text(
    "aAsSiIkK.-_\u24d0\uff41ß\u017f\u0130\u0131\u212a\u3002\uff0e\uff61\u2010\u00ad\u200b\u0430@",
    min_size=1,
    max_size=6,
).map("{}.com".format)


# What other programs do to a domain before they compare it.
_REPAIRS: dict[str, Callable[[str], str]] = {
    "compatibility forms": lambda text: unicodedata.normalize("NFKC", text),
    "case": str.casefold,
    "upper case": lambda text: text.upper().lower(),
    "trailing dots": lambda text: text.rstrip(".\u3002\uff0e"),
    "other dots": lambda text: re.sub("[\u3002\uff0e\uff61]", ".", text),
    "other hyphens": lambda text: text.replace("\u2010", "-"),
    "underscores": lambda text: text.replace("_", "-"),
    "dots and hyphens": lambda text: text.replace("-", "."),
    "invisible letters": lambda text: re.sub("[\u00ad\u200b]", "", text),
    "lookalikes": lambda text: text.replace("\u0430", "a").replace("\u0131", "i"),
}


@pytest.mark.parametrize("repair", _REPAIRS)
@given(text=_CONFUSABLE | DOMAINS)
@example(text="A.COM")
def test_no_repair_of_a_spelling_leads_into_another_domains_schema(repair: str, text: str) -> None:
    """Two spellings share a schema only if they are one but for ASCII case; what is repaired is refused instead."""
    repaired = _REPAIRS[repair](text)
    schemas = schema_of_domain(text), schema_of_domain(repaired)
    if fold(text) == fold(repaired):
        assert schemas[0] == schemas[1]
    elif schemas[0] is not None:
        assert schemas[0] != schemas[1]


@pytest.mark.parametrize(
    "address",
    [
        '"a@evil.com"@good.com',
        '"a"@good.com',
        "x@good.com@evil.com",
        "x@evil.com,y@good.com",
        "x@good.com\x00@evil.com",
        "x@evil.com @good.com",
        "x\\@evil.com@good.com",
        "<x@good.com>",
        "x@good.com(@evil.com)",
        "x\uff20evil.com@good.com",
        "x@good.com.",
        "x@[good.com]",
    ],
)
def test_an_address_with_two_readings_belongs_to_nobody_row_16(address: str) -> None:
    assert schema_of_email(address) is None


_ADDRESSES = st.text('a@."\\ ,<>', max_size=8).map("x@{}.com".format) | st.builds("{}@{}".format, SUBJECTS, DOMAINS)


@settings(max_examples=300)
@given(_ADDRESSES)
def test_an_address_is_of_the_domain_that_every_parser_finds_or_refused(address: str) -> None:
    """The first @ and the last one are two common ways to split."""
    schema = schema_of_email(address)
    if schema is not None:
        assert schema == schema_of_domain(address.split("@", 1)[1]) == schema_of_domain(address.rsplit("@", 1)[1])


# --- The two functions themselves -------------------------------------------------------------------------------------


def test_names_do_not_change_from_version_to_version() -> None:
    """People's data and rights lie under these names: a change here needs a migration, not a new expectation."""
    assert opaque_schema_name("example_com") == "t_rerhrsmwd6avklfp5nrjgum7jowntdyv"
    assert role_name("tenant_example_com", DEPLOYMENT) == "tenantry_0123456789ab_tenant_example_com"
    assert (
        role_name(schema_name("a" * 50 + "_example_com"), DEPLOYMENT)
        == "tenantry_0123456789ab_tenant_aaaaa___ny4scaic4bkcx2rnv34n76tc4b"
    )


@given(IDS)
def test_an_opaque_name_tells_nothing_but_that_it_is_one(tenant_id: str) -> None:
    assert re.fullmatch(r"t_[a-z2-7]{32}", opaque_schema_name(tenant_id))
    assert role_name(opaque_schema_name(tenant_id), DEPLOYMENT).endswith(opaque_schema_name(tenant_id))


@pytest.mark.parametrize("tenant_id", ["", "A", "a___b", "u___", "a.b", "a-b", "public;", "_a", "pg\n"])
def test_an_impossible_id_has_no_opaque_schema_either(tenant_id: str) -> None:
    with pytest.raises(ValueError):
        opaque_schema_name(tenant_id)


@pytest.mark.parametrize("deployment", ["", "0123456789a", "0123456789AB", "0123456789a_", "0123456789a\n", "x" * 32])
def test_a_role_is_not_made_for_what_is_no_deployment(deployment: str) -> None:
    """Shorter digits could run into the schema's name and be another deployment's."""
    with pytest.raises(ValueError, match="deployment"):
        role_name("tenant_example_com", deployment)


@given(st.lists(DEPLOYMENTS, min_size=2, max_size=6, unique_by=lambda text: text[:12]))
def test_every_deployment_has_a_role_of_its_own_for_one_schema(deployments: list[str]) -> None:
    for schema in (schema_name("a" * 48), schema_name("a"), opaque_schema_name("a")):
        for one, other in combinations(deployments, 2):
            assert role_name(schema, one) != role_name(schema, other)
