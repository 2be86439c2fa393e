"""What gets into SQL text, and how a script is cut into statements."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.adapters.postgres.statements import identifier, literal, load, render, split
from tenantry.errors import ConfigurationError


@pytest.mark.parametrize("name", ["", "A", "a-b", 'a"b', "a b", "a.b", "a\n", "é", "a" * 64, "a\0"])
def test_a_name_that_needs_thought_is_refused(name):
    with pytest.raises(ValueError, match="not an identifier"):
        identifier(name)


def test_a_plain_name_is_quoted():
    assert identifier("tenant_a_com") == '"tenant_a_com"'


def test_a_literal_is_the_same_whatever_the_servers_settings():
    assert literal("it's \\ fine") == "E'it''s \\\\ fine'"
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0b")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_nothing_gets_out_of_a_literal(text):
    assert split(f"select {literal(text)}; select 2") == [f"select {literal(text)}", "select 2"]


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; -- nothing\n /* at ; all */ ;", []),
        ("select 1", ["select 1"]),
        ("select 1; select 2;\n", ["select 1", "select 2"]),
        ("select ';', 'it''s;'; select 2", ["select ';', 'it''s;'", "select 2"]),
        ("select E'a\\';b'; select 2", ["select E'a\\';b'", "select 2"]),
        ('select ";"; select 2', ['select ";"', "select 2"]),
        ("select $$;$$, $a$ $$ ; $a$; select 2", ["select $$;$$, $a$ $$ ; $a$", "select 2"]),
        ("select $1; select 2", ["select $1", "select 2"]),
        ("select a$b$c; select $b$;$b$", ["select a$b$c", "select $b$;$b$"]),
        ("select 1 /* a /* ; */ ; */; select 2", ["select 1 /* a /* ; */ ; */", "select 2"]),
        ("select 1 -- a; b\n; select 2", ["select 1 -- a; b", "select 2"]),
        ("-- first\nselect 1", ["-- first\nselect 1"]),
        ("begin; select 1", ["begin", "select 1"]),
    ],
)
def test_a_script_is_cut_where_postgres_would_cut_it(script, statements):
    assert split(script) == statements


def test_a_body_that_cannot_be_cut_is_refused():
    with pytest.raises(ConfigurationError, match="BEGIN ATOMIC"):
        split("create function f() returns int begin atomic select 1; select 2; end")


def test_a_placeholder_is_filled_with_what_was_quoted():
    role, comment = render("role", role=identifier("r"), mark=literal("it's ours"))
    assert 'CREATE ROLE "r"' in role
    assert comment.endswith("E'it''s ours'")


@pytest.mark.parametrize("file", [f.name for f in files("tenantry.adapters.postgres").joinpath("sql").iterdir()])
def test_every_sql_file_says_what_it_is_for(file):
    assert load(file.removesuffix(".sql")).startswith("-- ")
