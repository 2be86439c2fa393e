"""tenantry: who is calling, for which tenant, and what may they do?

Stateless token validation and tenant routing for MCP servers over HTTP. Start reading at ``tenantry.gate``.
"""

from typing import TYPE_CHECKING, Any

from .context import current_user
from .errors import ConfigurationError, Refusal
from .model import MCPUserContext
from .permissions import require_permission
from .tools import whoami
from .validator import TokenValidator

if TYPE_CHECKING:
    from .middleware import TenantryMiddleware
    from .settings import Settings

__version__ = "0.1.0"
__all__ = [
    "ConfigurationError",
    "MCPUserContext",
    "Refusal",
    "Settings",
    "TenantryMiddleware",
    "TokenValidator",
    "current_user",
    "require_permission",
    "whoami",
]


def __getattr__(name: str) -> Any:
    """What costs an import is imported when somebody asks for it."""
    if name == "TenantryMiddleware":
        from .middleware import TenantryMiddleware

        return TenantryMiddleware
    if name == "Settings":
        from .settings import Settings

        return Settings
    raise AttributeError(f"module 'tenantry' has no attribute {name!r}")
