"""The checks of a running server, in the order in which they are made: what decides comes first, so that a server which
limits us is asked the important things. ``probe.replies`` is looked at by the last ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from ..findings import Finding
from . import access, browsers, challenge, encryption, metadata, server, sign_in, tokens
from .probe import Probe

Check = Callable[[Probe], AsyncIterator[Finding]]

CHECKS: tuple[Check, ...] = (
    encryption.https_is_used,
    access.refusals_have_the_right_status,
    access.no_method_gets_in,
    access.calls_need_a_token,
    access.what_is_below_is_closed,
    challenge.the_401_has_a_challenge,
    challenge.the_challenge_can_be_read,
    challenge.no_error_without_a_token,
    challenge.every_401_has_the_same_challenge,
    challenge.the_challenge_names_scopes,
    challenge.the_challenge_names_the_metadata,
    metadata.metadata_is_published,
    metadata.metadata_is_in_both_places,
    metadata.resource_is_what_users_type,
    metadata.metadata_can_be_fetched_by_browsers,
    metadata.metadata_names_authorization_servers,
    metadata.metadata_leaves_offline_access_out,
    metadata.other_well_known_paths_are_not_found,
    sign_in.authorization_servers_have_metadata,
    sign_in.issuers_are_as_named,
    sign_in.pkce_is_offered,
    sign_in.clients_can_register,
    sign_in.keys_are_published,
    tokens.bad_tokens_are_refused,
    tokens.bad_tokens_get_401,
    tokens.a_bad_token_is_called_invalid,
    tokens.two_credentials_are_refused,
    tokens.a_token_in_the_query_is_refused,
    tokens.the_good_token_is_accepted,
    challenge.doubled_versions_are_refused,
    browsers.preflights_pass,
    browsers.preflights_allow_every_header,
    browsers.the_401_can_be_read_by_browsers,
    browsers.foreign_origins_are_refused,
    browsers.foreign_hosts_are_refused,
    encryption.plain_http_is_closed,
    encryption.the_certificate_is_good_for_long,
    encryption.hsts_is_sent,
    access.both_slash_forms_answer,
    server.large_bodies_are_refused_early,
    server.health_is_open_and_quiet,
    server.the_clock_is_right,
    server.refusals_have_an_id,
    server.headers_name_no_version,
    server.no_answer_holds_a_stack_trace,
    server.answers_are_quick,
    tokens.no_answer_repeats_a_token,
)
