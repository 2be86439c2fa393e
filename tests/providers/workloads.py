"""What the tests of CI jobs and service accounts share: rules, and gates by them."""

from __future__ import annotations

from typing import Any

from tests.providers.issuers import a_door
from tests.support import Door, World

OURS = "https://mcp.example.com/mcp"
NOBODY = (401, "workload_not_allowed")


def rule(match: dict[str, Any], tenant: str = "acme", *permissions: str, **more: Any) -> dict[str, Any]:
    return {"match": match, "tenant": tenant, "permissions": list(permissions) or ["notes:read"], **more}


def a_door_by(world: World, name: str, *matches: dict[str, Any]) -> Door:
    """A gate with a rule for each of ``matches``."""
    return a_door(world, name, rules=[rule(match) for match in matches])
