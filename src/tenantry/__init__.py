"""tenantry: who is calling, for which tenant, and what may they do?

Stateless token validation and tenant routing for MCP servers over HTTP. Start reading at ``tenantry.gate``.
"""

TYPE_CHECKING = False  # read as true by type checkers; the module `typing` costs more than all the rest here
if TYPE_CHECKING:
    from .context import current_user
    from .core.rules import Rule, Rules
    from .errors import ConfigurationError, Refusal
    from .middleware import TenantryMiddleware
    from .model import MCPUserContext
    from .permissions import require_permission
    from .settings import Settings
    from .tools import whoami
    from .validator import TokenValidator

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

# Imported when somebody asks for the name: the command's help and a server's start need few of them.
_MODULES = {
    "ConfigurationError": "errors",
    "MCPUserContext": "model",
    "Refusal": "errors",
    "Rule": "core.rules",
    "Rules": "core.rules",
    "Settings": "settings",
    "TenantryMiddleware": "middleware",
    "TokenValidator": "validator",
    "current_user": "context",
    "require_permission": "permissions",
    "whoami": "tools",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tenantry' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = found  # the next time it is an ordinary attribute
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
