"""Which trace a request belongs to (W3C Trace Context, level 2)."""

from __future__ import annotations

from collections.abc import Iterable

_HEX = frozenset(b"0123456789abcdef")


def trace_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The 32 digits of the one ``traceparent``; None without one, with two, or for a malformed one (W3C Trace Context,
    level 2, section 3.2)."""
    found = [value for name, value in headers if name == b"traceparent"]
    if len(found) != 1:
        return None
    value = found[0]
    # version "-" trace-id "-" parent-id "-" flags, and in later versions "-" and more
    if len(value) != 55 and (len(value) < 56 or value[:2] == b"00" or value[55] != _DASH):
        return None
    if value[2] != _DASH or value[35] != _DASH or value[52] != _DASH or value[:2] == b"ff":
        return None
    trace, parent = value[3:35], value[36:52]
    if not _HEX.issuperset(value[:2] + trace + parent + value[53:55]) or trace == _NO_TRACE or parent == _NO_PARENT:
        return None
    return trace.decode("ascii")


_DASH = ord("-")
_NO_TRACE, _NO_PARENT = b"0" * 32, b"0" * 16
