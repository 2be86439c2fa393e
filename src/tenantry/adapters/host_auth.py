"""What the adapters to the hosts' own auth have in common: one token, judged, in the two words that a host knows.

A host asks for an access token or None. None is a 401, after which clients drop the token that they have; so only a
token that is itself to blame gets it, and an outage or a spent quota is raised, of which the hosts make a 500.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ..core.metadata import in_order
from ..errors import Refusal
from .access_token import access_token

if TYPE_CHECKING:
    from ..assemble import Assembly
    from ..model import MCPUserContext
    from ..settings import Settings
    from ..validator import TokenValidator

_OF_THE_TOKEN = (400, 401, 403)


class HostAuth:
    """Judges tokens by ``settings`` (by default the environment), or with a ``validator`` of the caller's own, which
    stays his to close. Raises ``ConfigurationError`` at once when the settings are not complete and safe."""

    def __init__(self, settings: Settings | None = None, *, validator: TokenValidator | None = None) -> None:
        from ..assemble import assemble
        from ..settings import Settings
        from ..validator import TokenValidator

        self.settings = settings or Settings()
        self._made: Assembly | None = None
        self._started = False
        if validator is None:
            self._made = assemble(self.settings)
            validator = TokenValidator(self._made.gate)
        self._validator = validator

    @property
    def authorization_servers(self) -> list[str]:
        """The issuers of all providers that people sign in with, as the metadata names them."""
        providers = self._validator.gate.providers.values()
        return in_order([server for provider in providers for server in provider.authorization_servers])

    async def judge(self, token: str) -> Any:
        """The host's access token, None for a refusal that is about the token (400, 401, 403). Raises any other
        ``Refusal``: 429, 500, 503. What was refused and why is observed by the gate, as for every request.

        The host awaits it in the task of the request, so that tools find the tenant database from then on."""
        self.start()
        try:
            user: MCPUserContext = await self._validator.validate_token(token)
        except Refusal as refusal:
            if refusal.status in _OF_THE_TOKEN:
                return None
            raise
        if self._made is not None:
            for variable, value in self._made.front.resources.items():
                variable.set(value)  # never taken back: it says nothing of the caller
        return access_token(user, self.settings.resource)

    def start(self) -> None:
        """Begin what belongs to the event loop that serves requests: the audit, metrics, fetching keys. Who does not,
        begins with the first token. Raises ``ConfigurationError``."""
        if self._made is not None and not self._started:
            self._made.start()
            self._started = True

    async def aclose(self) -> None:
        """Close what was made here: the HTTP client, the audit, running work. A second time does nothing."""
        made, self._made = self._made, None
        if made is not None:
            await made.aclose()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
