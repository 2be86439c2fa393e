"""tenantry: who is calling, for which tenant, and what may they do?

Stateless token validation and tenant routing for MCP servers over HTTP. Start reading at ``tenantry.gate``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .context import current_user
from .errors import ConfigurationError, Refusal
from .model import MCPUserContext
from .permissions import require_permission
from .tools import whoami
from .validator import TokenValidator

if TYPE_CHECKING:
    from .core.rules import Rule, Rules
    from .middleware import TenantryMiddleware
    from .settings import Settings

__version__ = "0.1.0"
__all__ = [
    "ConfigurationError",
    "MCPUserContext",
    "Refusal",
    "Rule",
    "Rules",
    "Settings",
    "TenantryMiddleware",
    "TokenValidator",
    "current_user",
    "require_permission",
    "whoami",
]


_ON_DEMAND = {
    "Rule": ".core.rules",
    "Rules": ".core.rules",
    "Settings": ".settings",
    "TenantryMiddleware": ".middleware",
}


def __getattr__(name: str) -> Any:
    """What costs an import is imported when somebody asks for it."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'tenantry' has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name], __name__), name)
