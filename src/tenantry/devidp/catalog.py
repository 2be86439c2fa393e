"""What is served, by name, so that a mistyped endpoint is an error and not a count of zero."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Catalog:
    """Provider name -> the names of its endpoints."""

    def __init__(self, endpoints: Mapping[str, Collection[str]]) -> None:
        self._endpoints = {provider: tuple(names) for provider, names in endpoints.items()}

    def check(self, provider: str | None, endpoint: str | None) -> None:
        """``LookupError`` for a provider that is not here or an endpoint that it does not have; None is any."""
        if provider is not None and provider not in self._endpoints:
            raise LookupError(f"no provider is called {provider!r}; there are {', '.join(self._endpoints)}")
        names = self.names(provider)
        if endpoint is not None and endpoint not in names:
            raise LookupError(f"no endpoint of {provider or 'any provider'} is called {endpoint!r}: {names}")

    def names(self, provider: str | None = None) -> tuple[str, ...]:
        """The endpoints of one provider, or of all."""
        chosen = self._endpoints.values() if provider is None else [self._endpoints[provider]]
        return tuple(name for names in chosen for name in names)
