from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tenantry.core.tenancy import (
    PUBLIC_MAIL_DOMAINS,
    TenantRules,
    canonical_domain,
    check_mapped_name,
    check_tenant_id,
    decode_domain,
    domain_of_email,
    encode_domain,
    names_an_employer,
    organization_tenant_id,
    personal_tenant_id,
    schema_name,
    tenant_rules,
)
from tenantry.errors import ConfigurationError, Forbidden
from tenantry.model import Identity, Tenant

# --- Domains: ordinary ones, ones full of hyphens, and long ones that differ only past the cut of 63 bytes ---------

_INNER = st.text(alphabet="ab01-", max_size=12) | st.integers(0, 59).map(lambda count: "-" * count)


def _is_canonical(text: str) -> bool:
    try:
        return canonical_domain(text) == text
    except ValueError:
        return False


_LABELS = st.builds(
    lambda first, inner, last: first + inner + last, st.sampled_from("aux0"), _INNER, st.sampled_from("z9")
)
_ANY_LABEL = _LABELS | st.sampled_from(["a", "b", "u", "org", "tenant", "com", "co", "a-b", "xn--bcher-kva"])
_SHORT = st.lists(_ANY_LABEL, min_size=2, max_size=4).map(".".join)
_STEM = "a-" * 10 + "b"
_LONG = st.builds(
    lambda fill, tail: ".".join([_STEM + "c" * fill, *tail]),
    st.integers(0, 42),
    st.lists(st.sampled_from(["d" * 30, "d" * 29 + "e", "d-" * 14 + "e", "com", "x"]), min_size=1, max_size=4),
)
# Exactly around the cut: the last character kept is a letter, a dot or within a run of hyphens.
_AT_THE_CUT = st.builds(
    lambda length, mark, tail: "a" * length + mark + "b" * 20 + "." + tail,
    st.integers(20, 40),
    st.sampled_from([".", "-", "-c-", ".c.", "c-.d"[:2], "c--d", "c---d"]),
    st.sampled_from(["com", "net", "co.uk", "d" * 40 + ".com"]),
)
DOMAINS = (_SHORT | _LONG | _AT_THE_CUT).filter(_is_canonical)
USERS = st.builds(
    "{}:{}".format, st.sampled_from(["google", "github", "auth0", "apikey"]), st.text(min_size=1, max_size=10)
)
MAPPED = st.from_regex(r"[a-z][a-z0-9_]{0,47}", fullmatch=True).filter(lambda name: "___" not in name)

IDS = st.one_of(
    DOMAINS.map(lambda domain: (("domain", domain), encode_domain(domain))),
    USERS.map(lambda user: (("user", user), personal_tenant_id(user))),
    USERS.map(lambda org: (("organization", org), organization_tenant_id(*org.split(":", 1)))),
    MAPPED.map(lambda name: (("mapped", name), check_mapped_name(name))),
)


@given(DOMAINS)
@example("my-co.io")
@example("a-b.c--d.com")
def test_decoding_gives_the_domain_back(domain: str) -> None:
    assert decode_domain(encode_domain(domain)) == domain


@settings(max_examples=300)
@given(DOMAINS, DOMAINS)
@example("a.b.com", "a-b.com")
@example("a.b-c.com", "a-b.c.com")
@example("a--b.com", "a-b.com")
def test_two_domains_never_share_an_id_or_a_schema(one: str, other: str) -> None:
    assume(one != other)
    assert encode_domain(one) != encode_domain(other)
    assert schema_name(encode_domain(one)) != schema_name(encode_domain(other))


@settings(max_examples=500)
@given(IDS, IDS)
def test_two_owners_never_share_a_schema(one: Any, other: Any) -> None:
    """Domains, users, organisations and mapped names. Only a mapped name can equal the id of a domain, and then
    ``TenantRules`` refuses the domain (see the tests of conflict below)."""
    (owner, tenant_id), (other_owner, other_id) = one, other
    assume(owner != other_owner)
    if tenant_id == other_id:
        assert {owner[0], other_owner[0]} == {"domain", "mapped"}
    else:
        assert schema_name(tenant_id) != schema_name(other_id)


@settings(max_examples=300)
@given(IDS)
def test_every_schema_name_is_a_plain_identifier_that_postgresql_does_not_cut(one: Any) -> None:
    name = schema_name(one[1])
    assert re.fullmatch(r"tenant_[a-z0-9_]+", name)
    assert len(name.encode()) <= 63
    if name != f"tenant_{one[1]}":
        assert re.fullmatch(r"tenant_[a-z0-9_]*[a-z0-9]___[a-z2-7]{26}", name)  # the mark is a run of exactly three


@given(IDS)
def test_every_made_id_is_accepted_as_one(one: Any) -> None:
    assert check_tenant_id(one[1]) == one[1]


@given(st.text(alphabet="abux0123_.-", max_size=20) | st.text(max_size=10))
def test_every_accepted_id_has_one_meaning(text: str) -> None:
    """Whatever passes for an id is a mapped name, a marked id or the encoding of exactly one domain."""
    try:
        check_tenant_id(text)
    except ValueError:
        with pytest.raises(ValueError):
            schema_name(text)
        return
    if "___" in text:
        assert re.fullmatch(r"(u|org)___[a-z2-7]{26}", text) or encode_domain(decode_domain(text)) == text
    elif not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", text):
        assert encode_domain(decode_domain(text)) == text


@given(st.text(alphabet="aZ09.-_", max_size=24) | st.text(max_size=12))
def test_a_domain_is_canonical_or_refused(text: str) -> None:
    try:
        domain = canonical_domain(text)
    except ValueError:
        return
    assert canonical_domain(domain) == domain == text.lower()
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain)


@given(st.text(alphabet="abcxyz0123456789-", max_size=20).map(lambda text: f"xn--{text}.com"))
def test_any_invented_a_label_is_refused_or_kept_as_it_is(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert canonical_domain(text) == text


@given(st.text(max_size=20) | st.from_regex(r"[a-z.\"@ ]{0,12}@[a-z.\-@]{0,12}", fullmatch=True))
def test_an_address_has_one_at_sign_and_a_canonical_domain_or_is_refused(address: str) -> None:
    try:
        domain = domain_of_email(address)
    except ValueError:
        return
    assert address.count("@") == 1
    assert address.rpartition("@")[2].lower() == domain == canonical_domain(domain)


@pytest.mark.parametrize("hyphens", range(1, 16))
def test_a_name_is_not_cut_within_a_run_of_underscores(hyphens: int) -> None:
    for letters in range(18, 28):
        name = schema_name(encode_domain("a" * letters + "-" * hyphens + "b" * 20 + "." + "c" * 40 + ".com"))
        assert re.fullmatch(r"tenant_a+(_*[b]+)?___[a-z2-7]{26}", name)


@pytest.mark.parametrize(
    ("domain", "tenant_id"),
    [
        ("gmail.com", "gmail_com"),
        ("mycompany.com", "mycompany_com"),
        ("my-co.io", "my__co_io"),
        ("a.b.com", "a_b_com"),
        ("a-b.com", "a__b_com"),
        ("163.com", "163_com"),
        ("xn--bcher-kva.example", "xn____bcher__kva_example"),
    ],
)
def test_an_id_is_readable(domain: str, tenant_id: str) -> None:
    assert encode_domain(domain) == tenant_id
    assert schema_name(tenant_id) == f"tenant_{tenant_id}"


def test_ids_do_not_change_from_version_to_version() -> None:
    """People's data lie under these names: a change here needs a migration, not a new expectation."""
    assert personal_tenant_id("google:123456789") == "u___5oonixfwaog2oj4tzdgrl4exng"
    assert organization_tenant_id("auth0", "org_1") == "org___hjy3rjdqiskjep6hcqqzb57vxw"
    assert schema_name("a" * 50 + "_example_com") == "tenant_aaaaaaaaaaaaaaaaaaaaaaaaaaa___nt62plj7gq3bjcnkcszoxkqbc5"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "com",
        ".com",
        "example.",
        "example.com.",
        "example..com",
        ".example.com",
        "a_b.com",
        "_dmarc.a.com",
        "exa mple.com",
        " example.com",
        "example.com ",
        "example.com\n",
        "example.com\x00",
        "-a.com",
        "a-.com",
        "a.-b.com",
        "ab--c.com",
        "xn--.com",
        "xn--a.com",
        "xn--0.com",
        "xn--99999999.com",
        "xn--gmail.com",
        "xn--gmail-.com",
        "xn--ls8h.la",
        "b\u00fccher.example",
        "ex\u0430mple.com",
        "\uff45xample.com",
        "example\u3002com",
        "example\uff0ecom",
        "example\uff61com",
        "example.c\u2126m",
        "\u212aelvin.com",
        "exam\u017fle.com",
        "\u0130.com",
        "a\u200db.com",
        "a\u00adb.com",
        "example.com\u200b",
        "*.example.com",
        "example.com/",
        "example.com:443",
        "user@example.com",
        "[1.2.3.4]",
        "[::1]",
        "a" * 64 + ".com",
        ".".join(["a" * 63] * 4) + ".com",
        "exa%6dple.com",
        "a\\.com",
        "a'b.com",
        'a";drop schema public--.com',
    ],
)
def test_a_spelling_that_is_not_canonical_is_refused_and_not_repaired(text: str) -> None:
    with pytest.raises(ValueError):
        canonical_domain(text)


def test_only_ascii_upper_case_is_folded() -> None:
    assert canonical_domain("MyCompany.COM") == "mycompany.com"
    assert canonical_domain("XN--BCHER-KVA.Example") == "xn--bcher-kva.example"


def test_dot_hyphen_and_underscore_are_three_different_things() -> None:
    assert encode_domain("a.b.com") != encode_domain("a-b.com")
    with pytest.raises(ValueError):
        encode_domain("a_b.com")


@pytest.mark.parametrize(
    "tenant_id", ["", "_", "a", "a___b_com", "a_", "_a_com", "Gmail_com", "a_____b_com", "a.b_com", "a_b__"]
)
def test_a_text_that_encodes_no_domain_is_not_decoded(tenant_id: str) -> None:
    with pytest.raises(ValueError):
        decode_domain(tenant_id)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "a",
        "a@",
        "@example.com",
        "a@b@example.com",
        "a@example.com@",
        "a@evil.com@example.com",
        '"a"@example.com',
        '"a@evil.com"@example.com',
        "a b@example.com",
        "a@example.com ",
        " a@example.com",
        "a@example.com\n",
        "a\n@example.com",
        "a\x00@example.com",
        "a@example.com,b@evil.com",
        "<a@example.com>",
        "Ann <a@example.com>",
        "a(x)@example.com",
        "\u00e9@example.com",
        "a@ex\u00e4mple.com",
        "a@example.com.",
        "a@localhost",
        "a@[127.0.0.1]",
        "a\uff20example.com",
        "a@example\u3002com",
        "x" * 310 + "@example.com",
        "a;b@example.com",
        "a:b@example.com",
        "a\\@b@example.com",
    ],
)
def test_an_address_that_two_parsers_could_read_differently_is_refused_cve_2026_40574(address: str) -> None:
    with pytest.raises(ValueError):
        domain_of_email(address)


def test_a_plain_address_has_a_domain() -> None:
    assert domain_of_email("Ann.O'Neil+x=y@MyCompany.com") == "mycompany.com"


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "_a", "a-b", "a.b", "a b", "a___b", "a" * 49, "a\n", "\u00e4", "tenant;drop"]
)
def test_a_mapped_name_is_plain(name: str) -> None:
    with pytest.raises(ValueError):
        check_mapped_name(name)
    with pytest.raises(ConfigurationError, match="MCP_HTTP_TENANT_MAPPING"):
        tenant_rules({"example.com": name}, "isolate", ())


@pytest.mark.parametrize(
    "tenant_id", ["u___", "u___" + "A" * 26, "u___" + "a" * 25, "x___" + "a" * 26, "org___" + "1" * 26, "..", "a;b"]
)
def test_an_impossible_id_has_no_schema(tenant_id: str) -> None:
    with pytest.raises(ValueError):
        schema_name(tenant_id)


@pytest.mark.parametrize(
    "domain",
    ["users.noreply.github.com", "privaterelay.appleid.com", "p.iam.gserviceaccount.com", "acme.onmicrosoft.com"],
)
def test_an_address_that_a_service_hands_out_names_no_employer(domain: str) -> None:
    assert not names_an_employer(domain)
    assert TenantRules({}).assign(person(domain=domain)).source == "personal"


# --- TenantRules ---------------------------------------------------------------------------------------------------


def person(**evidence: Any) -> Identity:
    return Identity("google:1", "google", "1", **evidence)


ALONE = personal_tenant_id("google:1")


def test_the_first_evidence_that_exists_decides() -> None:
    rules = TenantRules({})
    everything = {"tenant_id": "key_tenant", "organization": "org_1", "domain": "acme.com"}
    assert rules.assign(person(**everything)) == Tenant("key_tenant", "rule", named=True)
    key = Identity("apikey:1", "api_key", "1", **everything)
    assert rules.assign(key) == Tenant("key_tenant", "key", named=True)
    del everything["tenant_id"]
    assert rules.assign(person(**everything)) == Tenant(
        organization_tenant_id("google", "org_1"), "organization", named=False, evidence="google:org_1"
    )
    del everything["organization"]
    assert rules.assign(person(**everything)) == Tenant("acme_com", "domain", named=False, evidence="acme.com")


def test_an_address_alone_is_no_evidence_and_nobody_lands_in_a_shared_default() -> None:
    ann = person(email="ann@acme.com", email_verified=True)
    ben = Identity("google:2", "google", "2", email="ben@acme.com", email_verified=True)
    rules = TenantRules({"acme.com": "acme"})
    assert rules.assign(ann) == Tenant(ALONE, "personal", named=False)
    assert rules.assign(ben).tenant_id != ALONE


@pytest.mark.parametrize("domain", ["evil-acme.com", "acme.com.evil.io", "sub.acme.com", "acme.co", "acmecom"])
def test_a_domain_that_only_resembles_a_mapped_one_is_another(domain: str) -> None:
    rules = tenant_rules({"acme.com": "acme"}, "isolate", ())
    assert rules.assign(person(domain=domain if "." in domain else f"{domain}.com")).tenant_id != "acme"


@pytest.mark.parametrize("domain", ["gmail.com", "outlook.com", "yahoo.co.uk", "icloud.com", "proton.me"])
def test_strangers_at_a_public_mail_domain_are_isolated_shared_or_denied(domain: str) -> None:
    assert TenantRules({}).assign(person(domain=domain)) == Tenant(ALONE, "personal", named=False)
    assert TenantRules({}, "shared").assign(person(domain=domain)).tenant_id == encode_domain(domain)
    with pytest.raises(Forbidden, match="personal_account_denied"):
        TenantRules({}, "deny").assign(person(domain=domain))


@pytest.mark.parametrize("personal", ["isolate", "shared", "deny"])
def test_an_explicit_mapping_wins_over_all_three(personal: Any) -> None:
    rules = tenant_rules({"gmail.com": "personal_users"}, personal, ())
    assert rules.assign(person(domain="gmail.com")) == Tenant(
        "personal_users", "mapping", named=True, evidence="gmail.com"
    )


def test_deny_denies_people_without_any_domain_too() -> None:
    with pytest.raises(Forbidden, match="personal_account_denied"):
        TenantRules({}, "deny").assign(person())


@pytest.mark.parametrize("domain", sorted(PUBLIC_MAIL_DOMAINS))
def test_every_public_mail_domain_is_written_canonically(domain: str) -> None:
    assert canonical_domain(domain) == domain


def test_the_operator_can_name_more_public_mail_domains() -> None:
    rules = tenant_rules({}, "isolate", (), ["Mail.Example"])
    assert rules.assign(person(domain="mail.example")).tenant_id == ALONE
    assert rules.assign(person(domain="gmail.com")).tenant_id == ALONE


def test_a_derived_id_that_is_a_mapped_name_is_refused_rather_than_joined() -> None:
    rules = tenant_rules({"acme.com": "evil_com"}, "isolate", ())
    assert rules.assign(person(domain="acme.com")).tenant_id == "evil_com"
    with pytest.raises(Forbidden, match="tenant_conflict"):
        rules.assign(person(domain="evil.com"))


def test_a_shared_public_domain_does_not_join_a_mapped_tenant_either() -> None:
    rules = tenant_rules({"acme.com": "gmail_com"}, "shared", ())
    with pytest.raises(Forbidden, match="tenant_conflict"):
        rules.assign(person(domain="gmail.com"))


@settings(max_examples=300)
@given(
    st.dictionaries(
        DOMAINS,
        MAPPED | DOMAINS.map(encode_domain).filter(lambda i: len(i) <= 48 and i[0].isalpha() and "___" not in i),
        max_size=3,
    ),
    DOMAINS,
)
def test_no_domain_reaches_a_mapped_tenant_but_through_the_mapping(mapping: dict[str, str], domain: str) -> None:
    rules = tenant_rules(mapping, "isolate", ())
    try:
        tenant = rules.assign(person(domain=domain))
    except Forbidden as refusal:
        reason = refusal.reason
        assert (reason, encode_domain(domain) in mapping.values()) == ("tenant_conflict", True)
    else:
        assert (tenant.tenant_id in mapping.values()) is (domain in mapping)


def test_when_domains_are_allowed_all_others_are_not() -> None:
    rules = tenant_rules({"acme.com": "acme", "other.com": "other"}, "isolate", ["Acme.com", "gmail.com"])
    assert rules.assign(person(domain="acme.com")).tenant_id == "acme"
    assert rules.assign(person(domain="gmail.com")) == Tenant(ALONE, "personal", named=True)
    for evidence in ({"domain": "other.com"}, {"domain": "sub.acme.com"}, {"organization": "org_1"}, {}):
        with pytest.raises(Forbidden, match="domain_not_allowed"):
            rules.assign(person(**evidence))


def test_an_allowed_domain_counts_as_named_by_the_operator() -> None:
    assert tenant_rules({}, "isolate", ["acme.com"]).assign(person(domain="acme.com")).named
    assert not tenant_rules({}, "isolate", ()).assign(person(domain="acme.com")).named


def test_a_key_with_a_tenant_of_its_own_is_not_asked_for_a_domain() -> None:
    assert tenant_rules({}, "deny", ["acme.com"]).assign(person(tenant_id="batch")).tenant_id == "batch"


def test_an_organisation_is_mapped_under_its_provider_only() -> None:
    rules = tenant_rules({"auth0:org_1": "acme"}, "isolate", ["acme.com"])
    assert rules.assign(Identity("auth0:1", "auth0", "1", organization="org_1")) == Tenant(
        "acme", "mapping", named=True, evidence="auth0:org_1"
    )
    with pytest.raises(Forbidden):
        rules.assign(person(organization="org_1"))


def test_an_organisation_decides_even_when_a_domain_is_there() -> None:
    rules = tenant_rules({"acme.com": "acme"}, "isolate", ())
    assert rules.assign(person(organization="org_9", domain="acme.com")).tenant_id != "acme"


def test_one_organisation_id_at_two_providers_is_two_organisations() -> None:
    assert organization_tenant_id("auth0", "1") != organization_tenant_id("google", "1")


@pytest.mark.parametrize("domain", ["b\u00fccher.example", "example.com.", "localhost", "*.example.com", "a_b.com", ""])
def test_an_operators_domain_that_is_no_domain_is_named_with_its_variable(domain: str) -> None:
    for variable, make in {
        "TENANT_MAPPING": lambda: tenant_rules({domain: "acme"}, "isolate", ()),
        "ALLOWED_DOMAINS": lambda: tenant_rules({}, "isolate", [domain]),
        "PUBLIC_MAIL_DOMAINS": lambda: tenant_rules({}, "isolate", (), [domain]),
    }.items():
        with pytest.raises(ConfigurationError, match=f"MCP_HTTP_{variable}"):
            make()


def test_two_spellings_of_one_domain_cannot_be_mapped_to_two_names() -> None:
    with pytest.raises(ConfigurationError, match="two names"):
        tenant_rules({"acme.com": "one", "ACME.com": "two"}, "isolate", ())
