"""Who is at the other end: what a trusted proxy says of the client, and what nobody else may say.

``X-Forwarded-For`` is a list that anybody may begin and each proxy continues, so it is read from its end: what the
nearest hop saw comes last. Hops that are trusted are passed over; the first that is not is the client. ``Forwarded``
(RFC 7239) is not read: hardly a proxy writes it, and two headers that say the same could say two things.

Some platforms have a header of their own with the client's address alone (``Fly-Client-IP``, ``X-Real-IP`` at Railway),
which their edge overwrites. Where one is named, it is read in place of the list.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ..errors import ConfigurationError
from .expiry import Scope

UNIX = "unix"
LIST = "x-forwarded-for"
_LONGEST = 45 + len("[]:65535")  # INET6_ADDRSTRLEN without its zero byte, then brackets and a port
_KNOWN = 4096  # addresses whose reading is remembered: each is at most _LONGEST characters
_MAPPED = "::ffff:"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Peer(NamedTuple):
    """``address``: the client's as text, None where there is none (a unix socket); ``https``: whether the client came
    over TLS; ``trusted``: whether the connection is a trusted proxy's, whose forwarded headers these are."""

    address: str | None
    https: bool
    trusted: bool


class Proxies:
    """``trusted`` are addresses, networks (CIDR) and the word "unix" for a proxy that connects through a unix socket;
    ``header`` is the one in which they tell the client's address.

    Raises ``ConfigurationError`` for anything else, and for a network that is everybody: a header that anybody may
    write says nothing.
    """

    def __init__(self, trusted: Sequence[str] = (), header: str = LIST) -> None:
        self._single = None if header == LIST else header.encode("ascii")
        self._unix = UNIX in trusted
        self._networks = [_network(entry) for entry in trusted if entry != UNIX]
        self._any = bool(trusted)
        self._read = lru_cache(maxsize=_KNOWN)(self._examine)

    def peer(self, scope: Scope) -> Peer:
        """The client of an http or websocket scope."""
        client = scope.get("client")
        address = client[0] if client else None
        https = scope.get("scheme") in _SECURE
        if not self._any:
            if address is not None and address[:7] == _MAPPED:
                address = _plain(address) or address
            return _peer((address, https, False))
        if address is None:
            # A connection that is gone already has no address either; only a unix socket has no port of ours.
            server = scope.get("server")
            trusted = self._unix and (server is None or server[1] is None)
        else:
            normal, trusted = self._read(address)
            address = normal or address
        if not trusted:
            return _peer((address, https, False))
        return self._behind(scope, address, https)

    def _behind(self, scope: Scope, proxy: str | None, https: bool) -> Peer:
        if self._single is not None:
            return self._told(self._single, scope, proxy, https)
        hops: list[bytes] = []
        protocols: list[bytes] = []
        real: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops.append(value)
            elif name == b"x-forwarded-proto":
                protocols.append(value)
            elif name == b"x-real-ip":
                real.append(value)
        # Some platforms send X-Real-IP alone. Two of them are no statement.
        told = b",".join(hops) if hops else real[0] if len(real) == 1 else b""
        address = self._client(told, proxy)
        return Peer(address, _came_over_tls(protocols, https), True)

    def _told(self, name: bytes, scope: Scope, proxy: str | None, https: bool) -> Peer:
        """With the address out of a header that holds one. Two of them, or a list, are no statement."""
        told = [value for header, value in scope["headers"] if header == name]
        protocols = [value for header, value in scope["headers"] if header == b"x-forwarded-proto"]
        text = told[0].strip(b" \t") if len(told) == 1 else b""
        address = self._read(text.decode("latin-1"))[0] if len(text) <= _LONGEST else None
        return Peer(address or proxy, _came_over_tls(protocols, https), True)

    def _client(self, hops: bytes, nearest: str | None) -> str | None:
        """The first hop from the end that is not trusted. What cannot be read ends the walk: whoever handed it over is
        then as far as anything is known."""
        address = nearest
        for hop in reversed(hops.split(b",")) if hops else ():
            text = hop.strip(b" \t")
            if len(text) > _LONGEST:
                break
            read, trusted = self._read(text.decode("latin-1"))
            if read is None:
                break
            address = read
            if not trusted:
                break
        return address

    def _examine(self, text: str) -> tuple[str | None, bool]:
        """(the address in its one spelling, None when it is none; whether a trusted proxy has it)."""
        plain = _plain(text)
        if plain is None:
            return None, False
        address = ipaddress.ip_address(plain)
        return plain, any(address in network for network in self._networks)


_SECURE = frozenset({"https", "wss"})
_peer = Peer._make


def _came_over_tls(protocols: list[bytes], https: bool) -> bool:
    """What the nearest hop added comes last; it knows better than our own socket how the client came."""
    if not protocols:
        return https
    return protocols[-1].rpartition(b",")[2].strip().lower() in (b"https", b"wss")


def _plain(text: str) -> str | None:
    """An address without port, brackets and zone, IPv4 also where it is written as IPv6; None for anything else."""
    if text[:1] == "[":
        text, bracket, port = text[1:].partition("]")
        if not bracket or not _is_port(port):
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        if not _is_port(colon + port):
            return None
    text, percent, zone = text.partition("%")
    if percent and not (zone.isascii() and zone.isalnum()):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_port(text: str) -> bool:
    """Nothing, or a colon and digits."""
    return not text or (text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6)


def _network(entry: str) -> Network:
    if entry == "*":
        raise _refuse(entry, "trusts everybody, so that anybody could invent his address")
    try:
        network = ipaddress.ip_network(entry)
    except ValueError as error:
        problem = "has host bits set" if "host bits" in str(error) else "is no address and no network"
        raise _refuse(entry, problem) from None
    if network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped is not None:
        network = ipaddress.ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    if network.prefixlen == 0:
        raise _refuse(entry, "trusts everybody, so that anybody could invent his address")
    return network


def _refuse(entry: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"MCP_HTTP_TRUSTED_PROXIES holds {entry!r}, which {problem}: list your proxies' own addresses or networks, "
        "like 10.0.0.0/8 or fd00::/8, and `unix` for one that connects through a unix socket."
    )
