"""Validating one token without a request: for hosts with an auth interface of their own, scripts and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import Credential, MCPUserContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .gate import Gate
    from .settings import Settings


class TokenValidator:
    """``user = await validator.validate_token(token=bearer, provider_hint="google")``"""

    def __init__(self, gate: Gate, *, close: Callable[[], Awaitable[None]] | None = None) -> None:
        self.gate = gate
        self._close = close

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> TokenValidator:
        """A validator of its own from ``settings``, or the environment. Raises ``ConfigurationError``."""
        from .assemble import assemble
        from .settings import Settings

        made = assemble(settings or Settings())
        return cls(made.gate, close=made.aclose)

    async def validate_token(self, token: str, provider_hint: str | None = None) -> MCPUserContext:
        """The caller that ``token`` stands for, or a ``Refusal``.

        ``provider_hint`` may choose among configured providers, nothing more: a token of another provider than
        the named one is refused.
        """
        credential = Credential(token.encode("utf-8", "surrogatepass"))
        return (await self.gate.validate(credential, provider_hint)).user

    async def aclose(self) -> None:
        """Close what ``from_settings`` opened."""
        if self._close is not None:
            await self._close()

    async def __aenter__(self) -> TokenValidator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
