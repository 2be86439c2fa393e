"""The checks of the settings of this environment and of what they name, in the order in which they are made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from ..findings import Finding
from . import configuration, database, introspection, issuers, providers, stores
from .here import Here

Check = Callable[[Here], AsyncIterator[Finding]]

CHECKS: tuple[Check, ...] = (
    configuration.unsafe_choices_are_meant,
    configuration.the_public_url_can_be_typed,
    configuration.clients_ask_for_an_audience_of_ours,
    configuration.the_rules_can_be_read,
    configuration.certificate_and_key_fit,
    configuration.the_platforms_proxies_are_trusted,
    configuration.the_audit_can_be_written,
    providers.google_publishes_keys,
    providers.auth0_is_who_we_expect,
    providers.github_knows_our_client,
    issuers.issuers_publish_keys,
    introspection.introspection_knows_our_client,
    database.databases_are_in_order,
    stores.redis_answers,
)
