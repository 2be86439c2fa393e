"""The development identity provider: one loopback application that behaves as Google, Auth0 and GitHub do.

The tests of the project and the demo use the same one; ``python -m tenantry.devidp`` serves it. Never in production.
"""

from .app import DevIdp
from .calls import Call, Calls
from .clock import Clock, WallClock
from .faults import Fault, Faults
from .keyring import OMIT, KeyRing, SigningKey
from .loopback import serve_on_loopback
from .people import Auth0Account, GitHubAccount, GitHubEmail, GoogleAccount, People, Person

__all__ = [
    "OMIT",
    "Auth0Account",
    "Call",
    "Calls",
    "Clock",
    "DevIdp",
    "Fault",
    "Faults",
    "GitHubAccount",
    "GitHubEmail",
    "GoogleAccount",
    "KeyRing",
    "People",
    "Person",
    "SigningKey",
    "WallClock",
    "serve_on_loopback",
]
