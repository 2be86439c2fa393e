"""From evidence to a tenant: readable names that no two owners can share.

A tenant id is one of

    example_com              a domain: "." is "_" and "-" is "__" (an LDH label never begins or ends with a
                             hyphen, RFC 5890 section 2.3.1, so a run of underscores is 1 or even: decodable)
    company_tenant           a name that the operator's mapping gives: [a-z][a-z0-9_]{0,47}, no run of three
    u___<26 base32>          a user of his own:      SHA-256(user_id)
    org___<26 base32>        an organisation without a domain: SHA-256("<provider>:<id>")

and its schema is ``tenant_<tenant_id>``, cut where PostgreSQL would cut it silently (63 bytes) and then marked
with ``___<26 base32 of SHA-256(tenant_id)>``, or where domains must stay out of the catalog ``t_<32 base32 of
SHA-256(tenant_id)>``. A run of three underscores can come from no domain and no mapped name. Mapped names and
derived ids live in one space: a derived id that equals somebody's mapped name is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import idna

from ..errors import ConfigurationError, Forbidden
from ..model import Identity, Tenant, TenantSource
from .matching import API_KEY

PersonalDomains = Literal["isolate", "shared", "deny"]

# Anybody can have an address here, so a shared domain says nothing about who belongs together.
PUBLIC_MAIL_DOMAINS = frozenset(
    """
    gmail.com googlemail.com outlook.com hotmail.com hotmail.co.uk hotmail.fr live.com msn.com passport.com
    yahoo.com yahoo.co.uk yahoo.co.jp yahoo.fr yahoo.de yahoo.it yahoo.es yahoo.in yahoo.ca yahoo.com.br ymail.com
    rocketmail.com aol.com icloud.com me.com mac.com proton.me protonmail.com pm.me gmx.com gmx.de gmx.net gmx.at
    gmx.ch web.de t-online.de freenet.de mail.com mail.ru bk.ru inbox.ru list.ru yandex.ru yandex.com ya.ru
    zoho.com fastmail.com fastmail.fm hey.com tutanota.com tuta.com tuta.io qq.com 163.com 126.com sina.com
    foxmail.com naver.com daum.net hanmail.net orange.fr wanadoo.fr free.fr laposte.net libero.it virgilio.it
    comcast.net verizon.net att.net btinternet.com sky.com seznam.cz wp.pl o2.pl uol.com.br bol.com.br
    rediffmail.com duck.com mailinator.com hushmail.com posteo.de mailbox.org
    """.split()
)
# Addresses under these are made by a service for a person or a machine: never evidence of an employer.
_NEVER_DOMAINS = frozenset({"users.noreply.github.com", "privaterelay.appleid.com"})
_NEVER_SUFFIXES = (".gserviceaccount.com", ".onmicrosoft.com")

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAPPED_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_MARKED = re.compile(r"(?:u|org)___[a-z2-7]{26}")
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+")  # RFC 5322 atext and dots: nothing quoted

SCHEMA_PREFIX = "tenant_"
_OPAQUE_PREFIX = "t_"  # no readable name begins so
_DEPLOYMENT = re.compile(r"[0-9a-f]{12}")
_IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1


def canonical_domain(text: str) -> str:
    """A domain in its one spelling: lower-case LDH A-labels, two or more, 253 characters at most.

    ASCII upper case is folded; everything else that is not already canonical (a trailing dot, U-labels,
    full-width letters, ideographic dots, underscores) raises ValueError rather than being repaired: two
    spellings that a repair makes equal may belong to two owners.
    """
    domain = text.lower() if text.isascii() else ""
    labels = domain.split(".")
    if len(domain) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a canonical domain name")
    for label in labels:
        if label[2:4] == "--":
            _check_a_label(label)
    return domain


def _check_a_label(label: str) -> None:
    """An A-label must be the encoding of what it decodes to (RFC 5891 section 4.2); other ``??--`` are reserved."""
    try:
        if not label.startswith("xn--") or idna.alabel(idna.ulabel(label)).decode() != label:
            raise ValueError("not a canonical domain name")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("not a canonical domain name") from error


def domain_of_email(address: str) -> str:
    """The canonical domain of a plain address; ValueError for two @, quotes, blanks or non-ASCII."""
    local, at, domain = address.partition("@")
    if not at or "@" in domain or len(address) > 320 or not _LOCAL_PART.fullmatch(local):
        raise ValueError("not a plain e-mail address")
    return canonical_domain(domain)


def encode_domain(domain: str) -> str:
    """``example.com`` -> ``example_com``; ``my-co.io`` -> ``my__co_io``. The domain must be canonical."""
    return canonical_domain(domain).replace("-", "__").replace(".", "_")


def decode_domain(tenant_id: str) -> str:
    """The one domain that ``encode_domain`` maps to ``tenant_id``; ValueError when there is none."""
    text = re.sub(r"_+", lambda run: "." if len(run[0]) == 1 else "-" * (len(run[0]) // 2), tenant_id)
    if encode_domain(text) != tenant_id:
        raise ValueError("not the id of a domain")
    return text


def personal_tenant_id(user_id: str) -> str:
    """The tenant of one user alone."""
    return "u___" + _base32_sha256(user_id, 26)


def organization_tenant_id(provider: str, organization: str) -> str:
    """The tenant of an organisation that has no domain."""
    return "org___" + _base32_sha256(f"{provider}:{organization}", 26)


def check_mapped_name(name: str) -> str:
    """``name`` when an operator may give it to a tenant, else ValueError."""
    if not _MAPPED_NAME.fullmatch(name) or "___" in name:
        raise ValueError("use [a-z][a-z0-9_]{0,47} without three underscores in a row")
    return name


def check_tenant_id(tenant_id: str) -> str:
    """``tenant_id`` when it can be anybody's (mapped, derived from a domain, a user or an organisation)."""
    if _MARKED.fullmatch(tenant_id):
        return tenant_id
    try:
        return check_mapped_name(tenant_id)
    except ValueError:
        decode_domain(tenant_id)
        return tenant_id


@lru_cache(maxsize=4096)
def schema_name(tenant_id: str) -> str:
    """The PostgreSQL schema of a tenant, 63 bytes at most and injective; ValueError for an impossible id."""
    return _within_identifier(SCHEMA_PREFIX + check_tenant_id(tenant_id), tenant_id)


@lru_cache(maxsize=4096)
def opaque_schema_name(tenant_id: str) -> str:
    """``t_`` and 32 base32 characters (160 bits) of SHA-256: a schema whose name does not tell whose it is.

    Raises ``ValueError`` for an impossible id.
    """
    return _OPAQUE_PREFIX + _base32_sha256(check_tenant_id(tenant_id), 32)


@lru_cache(maxsize=4096)
def role_name(schema: str, deployment: str) -> str:
    """The role of a schema's tenant, 63 bytes at most: roles are shared by all databases of a cluster, so the name
    begins with 12 hexadecimal digits of the deployment's id.

    ``schema`` comes from ``schema_name`` or ``opaque_schema_name``. Raises ``ValueError`` for an id of another form.
    """
    digits = deployment[:12]
    if not _DEPLOYMENT.fullmatch(digits):
        raise ValueError("a deployment's id is hexadecimal digits, 12 or more")
    return _within_identifier(f"tenantry_{digits}_{schema}", schema)


def _within_identifier(name: str, origin: str) -> str:
    """``name`` as long as it fits, else its beginning and the mark of ``origin``, from which it was made.

    No underscore before the mark: a run of exactly three comes from no domain and no mapped name.
    """
    if len(name) <= _IDENTIFIER_BYTES:
        return name
    mark = "___" + _base32_sha256(origin, 26)
    return name[: _IDENTIFIER_BYTES - len(mark)].rstrip("_") + mark


def _base32_sha256(text: str, length: int) -> str:
    """The first characters of SHA-256 of the text's UTF-8 in lower-case base32, 5 bits each."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def names_an_employer(domain: str) -> bool:
    """False for domains whose addresses a service hands out (no-reply, relay, service accounts)."""
    return domain not in _NEVER_DOMAINS and not domain.endswith(_NEVER_SUFFIXES)


@dataclass(frozen=True, slots=True)
class TenantRules:
    """The operator's say: ``mapping`` of canonical domain or organisation ("<provider>:<id>") to a name,
    ``personal`` what becomes of people without a domain of their own, ``allowed_domains`` None for all."""

    mapping: Mapping[str, str]
    personal: PersonalDomains = "isolate"
    allowed_domains: frozenset[str] | None = None
    public_mail_domains: frozenset[str] = PUBLIC_MAIL_DOMAINS

    def assign(self, identity: Identity) -> Tenant:
        """The tenant of an identity: the first evidence that exists decides. Raises ``Forbidden``."""
        if identity.tenant_id is not None:
            source: TenantSource = "key" if identity.provider == API_KEY else "rule"
            return Tenant(identity.tenant_id, source, named=True)
        if identity.organization is not None:
            return self._of_organization(identity, identity.organization)
        if identity.domain is not None and names_an_employer(identity.domain):
            return self._of_domain(identity, identity.domain)
        return self._personal(identity)

    def _of_organization(self, identity: Identity, organization: str) -> Tenant:
        key = f"{identity.provider}:{organization}"
        if key in self.mapping:
            return Tenant(self.mapping[key], "mapping", named=True, evidence=key)
        if self.allowed_domains is not None:
            raise Forbidden("domain_not_allowed")
        tenant_id = organization_tenant_id(identity.provider, organization)
        return Tenant(tenant_id, "organization", named=False, evidence=key)

    def _of_domain(self, identity: Identity, domain: str) -> Tenant:
        if self.allowed_domains is not None and domain not in self.allowed_domains:
            raise Forbidden("domain_not_allowed")
        if domain in self.mapping:
            return Tenant(self.mapping[domain], "mapping", named=True, evidence=domain)
        named = self.allowed_domains is not None
        if domain in self.public_mail_domains and self.personal != "shared":
            return self._alone(identity, named=named)
        return self._derived(domain, named=named)

    def _personal(self, identity: Identity) -> Tenant:
        if self.allowed_domains is not None:
            raise Forbidden("domain_not_allowed")
        return self._alone(identity, named=False)

    def _alone(self, identity: Identity, *, named: bool) -> Tenant:
        if self.personal == "deny":
            raise Forbidden("personal_account_denied")
        return Tenant(personal_tenant_id(identity.user_id), "personal", named=named)

    def _derived(self, domain: str, *, named: bool) -> Tenant:
        tenant_id = encode_domain(domain)
        if tenant_id in self.mapping.values():
            raise Forbidden("tenant_conflict")
        return Tenant(tenant_id, "domain", named=named, evidence=domain)


def tenant_rules(
    mapping: Mapping[str, str],
    personal: PersonalDomains,
    allowed_domains: Iterable[str],
    more_public_domains: Iterable[str] = (),
) -> TenantRules:
    """``TenantRules`` from an operator's words. Raises ``ConfigurationError`` naming variable and entry."""
    allowed = frozenset(_operator_domain("MCP_HTTP_ALLOWED_DOMAINS", text) for text in allowed_domains)
    public = frozenset(_operator_domain("MCP_HTTP_PUBLIC_MAIL_DOMAINS", text) for text in more_public_domains)
    names: dict[str, str] = {}
    for key, name in mapping.items():
        if names.setdefault(_mapping_key(key), _mapping_name(key, name)) != name:
            raise ConfigurationError(f"MCP_HTTP_TENANT_MAPPING gives {key!r} two names: keep one of its spellings.")
    return TenantRules(
        mapping=names,
        personal=personal,
        allowed_domains=allowed or None,
        public_mail_domains=PUBLIC_MAIL_DOMAINS | public,
    )


def _operator_domain(variable: str, text: str) -> str:
    try:
        return canonical_domain(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"{variable} holds {text!r}, which is not a domain name: write it in ASCII lower case, like "
            "example.com or xn--bcher-kva.example."
        ) from None


def _mapping_key(key: str) -> str:
    if ":" in key:  # "<provider>:<organization id>"; a domain has no colon
        return key
    return _operator_domain("MCP_HTTP_TENANT_MAPPING", key)


def _mapping_name(key: str, name: str) -> str:
    try:
        return check_mapped_name(name)
    except ValueError as error:
        raise ConfigurationError(f"MCP_HTTP_TENANT_MAPPING maps {key!r} to {name!r}: {error}.") from None
