"""A small made-up directory: each person is one of the cases that tenant evidence has to get right.

Domains are ``.example`` (RFC 2606 section 3) or gmail.com; every subject, id and login is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

_Account = TypeVar("_Account")


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    """``sub`` is the only stable key; ``hd`` is the primary domain of the Workspace, None for a consumer account."""

    sub: str
    email: str
    hd: str | None = None
    email_verified: bool = True


@dataclass(frozen=True, slots=True)
class Auth0Account:
    """``permissions`` are what RBAC would put into an access token; ``org_id`` is the organisation logged in to."""

    sub: str
    email: str
    email_verified: bool = True
    org_id: str | None = None
    org_name: str | None = None
    permissions: tuple[str, ...] = ("read:notes",)


@dataclass(frozen=True, slots=True)
class GitHubEmail:
    """One row of ``GET /user/emails``."""

    email: str
    primary: bool = False
    verified: bool = True
    visibility: str | None = None


@dataclass(frozen=True, slots=True)
class GitHubAccount:
    """``id`` is stable; ``login`` can be renamed, and then registered by somebody else."""

    id: int
    login: str
    emails: tuple[GitHubEmail, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account at one or more providers. ``key`` is the short name that tests and curl use."""

    key: str
    name: str
    why: str
    google: GoogleAccount | None = None
    auth0: Auth0Account | None = None
    github: GitHubAccount | None = None

    @property
    def given_name(self) -> str:
        return self.name.split(" ")[0]

    @property
    def family_name(self) -> str:
        return self.name.split(" ")[-1]

    @property
    def picture(self) -> str:
        return f"https://pictures.example/{self.key}.png"

    def at_google(self) -> GoogleAccount:
        """The Google account; ``LookupError`` where there is none (so the two below)."""
        return self._existing(self.google, "Google")

    def at_auth0(self) -> Auth0Account:
        return self._existing(self.auth0, "Auth0")

    def at_github(self) -> GitHubAccount:
        return self._existing(self.github, "GitHub")

    def _existing(self, account: _Account | None, provider: str) -> _Account:
        if account is None:
            raise LookupError(f"{self.key} has no {provider} account")
        return account


ANN: Final = Person(
    key="ann",
    name="Ann Archer",
    why="works at Acme: Workspace account, Acme's Auth0 organisation, a GitHub account",
    google=GoogleAccount("110248495921238986420", "ann@acme.example", hd="acme.example"),
    auth0=Auth0Account(
        "google-oauth2|110248495921238986420",
        "ann@acme.example",
        org_id="org_9ybsU1dN2dKfDkBi",
        org_name="acme",
        permissions=("read:notes", "write:notes"),
    ),
    github=GitHubAccount(
        58323101,
        "ann-archer",
        (
            GitHubEmail("ann@acme.example", primary=True, visibility="private"),
            GitHubEmail("58323101+ann-archer@users.noreply.github.com"),
        ),
    ),
)
BOB: Final = Person(
    key="bob",
    name="Bob Baker",
    why="works at Acme too: the same tenant as Ann, another person",
    google=GoogleAccount("110248495921238986421", "bob@acme.example", hd="acme.example"),
    auth0=Auth0Account(
        "auth0|650000000000000000000b0b",
        "bob@acme.example",
        org_id="org_9ybsU1dN2dKfDkBi",
        org_name="acme",
    ),
)
CAROL: Final = Person(
    key="carol",
    name="Carol Castle",
    why="consumer account: gmail.com is no organisation, and strangers must not share data",
    google=GoogleAccount("104829301847562910384", "carol@gmail.com"),
)
DAVE: Final = Person(
    key="dave",
    name="Dave Dyer",
    why="consumer Google account with a corporate address and no hd: no evidence for corp.example",
    google=GoogleAccount("117720043318865409921", "dave@corp.example"),
)
ERIN: Final = Person(
    key="erin",
    name="Erin Ember",
    why="Auth0 user of an organisation of its own, apart from Acme",
    auth0=Auth0Account(
        "auth0|650000000000000000000e21",
        "erin@globex.example",
        org_id="org_Zq3mR7pWc1LxTn5H",
        org_name="globex",
        permissions=("read:notes", "write:notes", "admin:notes"),
    ),
)
FAY: Final = Person(
    key="fay",
    name="Fay Flint",
    why="Auth0 user without an organisation, address not verified",
    auth0=Auth0Account("auth0|650000000000000000000fa1", "fay@initech.example", email_verified=False),
)
OCTO: Final = Person(
    key="octo",
    name="Octavia Olsen",
    why="GitHub user who will rename the login; primary address verified",
    github=GitHubAccount(
        91827364,
        "octo-olsen",
        (
            GitHubEmail("octavia@studio.example", primary=True, visibility="public"),
            GitHubEmail("octavia@old.example"),
        ),
    ),
)
PAT: Final = Person(
    key="pat",
    name="Pat Porter",
    why="GitHub user whose primary address is not verified, beside a noreply address that is",
    github=GitHubAccount(
        77665544,
        "pat-porter",
        (
            GitHubEmail("pat@unproven.example", primary=True, verified=False),
            GitHubEmail("77665544+pat-porter@users.noreply.github.com"),
        ),
    ),
)
QUINN: Final = Person(
    key="quinn",
    name="Quinn Quill",
    why="Workspace account whose address is on a secondary domain: hd differs from the domain of the address",
    google=GoogleAccount("109911223344556677889", "quinn@quill.example", hd="globex.example"),
)
EVERYBODY: Final = (ANN, BOB, CAROL, DAVE, ERIN, FAY, OCTO, PAT, QUINN)


class People(Mapping[str, Person]):
    """The directory of one development identity provider, by short name. ``add`` is how a test adds its own case."""

    def __init__(self, persons: tuple[Person, ...] = EVERYBODY) -> None:
        self._by_key = {person.key: person for person in persons}

    def add(self, person: Person) -> Person:
        """Make ``person`` known (or known anew) by the short name."""
        self._by_key[person.key] = person
        return person

    def find(self, person: Person | str) -> Person:
        """The person, given as such or by short name; ``LookupError`` for a name nobody has."""
        if isinstance(person, Person):
            return person
        if person not in self._by_key:
            raise LookupError(f"nobody here is called {person!r}; there are {', '.join(self)}")
        return self._by_key[person]

    def __getitem__(self, key: str) -> Person:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)
