from __future__ import annotations

import json

import pytest

from tenantry.core.metadata import metadata_document, metadata_paths, metadata_url, resources

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


def test_servers_that_any_client_can_sign_in_with_come_first() -> None:
    """The official clients take the first and give up where it does not register them."""
    google, github = "https://accounts.google.com", "https://github.com/login/oauth"
    servers = [google, "https://acme.auth0.com/", github, "https://login.example/"]
    document = json.loads(metadata_document("https://mcp.example.com/mcp", servers, []))
    assert document["authorization_servers"] == ["https://acme.auth0.com/", "https://login.example/", google, github]


def test_further_endpoints_are_resources_below_the_same_prefix() -> None:
    paths = ["/notes/mcp", "/todos/mcp", "/mcp"]
    assert resources("https://h.example/notes/mcp", paths) == {
        "/todos/mcp": "https://h.example/todos/mcp",
        "/mcp": "https://h.example/mcp",
    }
    behind_prefix = "https://h.example/api/todos/mcp"
    assert resources("https://h.example/api/notes/mcp/", paths[:2]) == dict.fromkeys(
        ("/todos/mcp", "/api/todos/mcp"), behind_prefix
    )


def test_the_root_of_a_host_may_be_one_of_several_endpoints() -> None:
    assert resources("https://h.example/", ["", "/todos"]) == {"/todos": "https://h.example/todos"}
    assert resources("https://h.example/todos", ["", "/todos"]) == {"": "https://h.example"}


def test_where_the_public_url_is_none_of_the_paths_nobody_knows_what_the_others_are_called() -> None:
    assert resources("https://h.example/mcp", ["/notes/mcp", "/todos/mcp"]) == {}
    assert resources("https://h.example/mcp", []) == {}
