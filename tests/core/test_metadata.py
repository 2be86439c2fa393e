from __future__ import annotations

import json

import pytest

from tenantry.core.metadata import metadata_document, metadata_paths, metadata_url

ROOT = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("resource", "paths"),
    [
        ("https://mcp.example.com/mcp", (ROOT + "/mcp", ROOT)),
        ("https://mcp.example.com/mcp/", (ROOT + "/mcp", ROOT)),
        ("https://mcp.example.com/a/b", (ROOT + "/a/b", ROOT)),
        ("https://mcp.example.com", (ROOT,)),
        ("https://mcp.example.com/", (ROOT,)),
    ],
)
def test_the_document_stands_where_clients_look(resource: str, paths: tuple[str, ...]) -> None:
    assert metadata_paths(resource) == paths


def test_its_url_inserts_the_path_after_the_host_and_keeps_the_port() -> None:
    assert metadata_url("http://127.0.0.1:8000/mcp") == f"http://127.0.0.1:8000{ROOT}/mcp"
    assert metadata_url("https://mcp.example.com/") == f"https://mcp.example.com{ROOT}"


def test_the_resource_is_character_for_character_what_was_configured() -> None:
    for resource in ("https://MCP.example.com/mcp", "https://mcp.example.com/mcp/", "https://mcp.example.com"):
        assert json.loads(metadata_document(resource, [], []))["resource"] == resource


def test_tokens_are_taken_from_the_header_only() -> None:
    document = json.loads(metadata_document("https://mcp.example.com/mcp", ["https://acme.auth0.com/"], ["notes:read"]))
    assert document == {
        "resource": "https://mcp.example.com/mcp",
        "authorization_servers": ["https://acme.auth0.com/"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["notes:read"],
    }


def test_no_scopes_are_not_an_empty_list_of_scopes() -> None:
    assert "scopes_supported" not in json.loads(metadata_document("https://mcp.example.com/mcp", [], []))
