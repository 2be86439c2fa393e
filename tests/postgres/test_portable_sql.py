"""Every piece of SQL that we ship runs behind PgBouncer in transaction mode, and on Citus schema-based sharding.

Nothing that outlives a transaction, one DDL statement a call, no type or trigger or reference that a sharded schema
cannot have, explicit columns, values computed here and not by a volatile function. New files are found by themselves.
What a text alone cannot show is elsewhere: that SET LOCAL is said inside a transaction is for the tests that run it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pytest

import tenantry
from tenantry.adapters.postgres.migrations import Migrations, not_portable, refused
from tenantry.adapters.postgres.statements import bare, split

SOURCE = Path(tenantry.__file__).parent
ADAPTER = SOURCE / "adapters" / "postgres"
SQL_FILES = sorted(SOURCE.rglob("*.sql"))
# Not migrations.py: what looks like SQL there are patterns for the SQL of others.
MODULES = sorted(set(ADAPTER.rglob("*.py")) - {ADAPTER / "migrations.py"})

# (file, rule) -> why the rule does not hold there
EXEMPT = {
    ("embedded.sql", "session state"): "run once, on a connection of its own, by the superuser of a server of ours",
    ("embedded_harden.sql", "session state"): "gives the right to call set_config, and does not call it",
    ("untrusted_rows.sql", "all columns"): "whose columns they are, the text of a tenant says",
}

# --- The rules: for a statement's own words with a blank before and after, as in migrations.py ----------------------

Rule = Callable[[str], bool]


def found(*patterns: str) -> Rule:
    joined = "|".join(patterns).replace("NAME", r'(?:"\w+"|[\w$]+)')
    compiled = re.compile(joined, re.IGNORECASE)
    return lambda statement: compiled.search(f" {bare(statement)} ") is not None


def is_refused_for(*reasons: str) -> Rule:
    return lambda statement: (refused(statement) or "").startswith(reasons)


def has_an_odd_name(statement: str) -> bool:
    """PostgreSQL cuts a name at 63 bytes without an error."""
    return any(len(word.strip('"')) > 63 or not word.isascii() for word in bare(statement).split())


def mentions_public(statement: str) -> bool:
    """The schema or everybody: for taking something away only."""
    words = f" {bare(statement)} ".upper()
    return re.search(' "?PUBLIC"? ', words) is not None and " REVOKE " not in words


_NOT_IMMUTABLE = (
    r'"?(now|\w+_timestamp|timeofday|random|gen_random_uuid|uuidv[47]|nextval)"? \( '
    "|(CURRENT_(DATE|TIME|TIMESTAMP)|LOCALTIME(STAMP)?) "
)
_SET_CLAUSE = r" (UPDATE (ONLY )?(NAME \. )?NAME (AS )?(NAME )?SET|DO UPDATE SET) ((?! (WHERE|RETURNING) ).)* "

RULES: dict[str, Rule] = {
    "session state": found(
        # What only undoes (RESET, DEALLOCATE, UNLISTEN, CLOSE ALL, pg_advisory_unlock_all) leaves nothing behind.
        "^ SET (?!LOCAL |CONSTRAINTS )",
        "^ (LISTEN|PREPARE|EXECUTE|LOAD) ",
        " WITH HOLD ",
        r' "?pg_(try_)?advisory_lock(_shared)?"? \( ',
        r'^ (?!REVOKE ).* "?set_config"? \( ',
    ),
    "temporary object": is_refused_for("makes a temporary object"),
    "not in a transaction": is_refused_for("cannot run in a transaction"),
    "type for each tenant": is_refused_for("makes a type"),
    "search_path left open": is_refused_for("leaves open"),
    "Citus": lambda statement: not_portable(statement) is not None,
    "value not computed here": found(f"{_SET_CLAUSE}({_NOT_IMMUTABLE})"),
    "all columns": found(r" (SELECT|DISTINCT|ALL|RETURNING|,|\.) \* "),
    "INSERT without columns": found(r" INSERT INTO (NAME \. )?NAME(?= )(?! \.)(?! (AS NAME )?\()"),
    "all tables": found(r" ON ALL \w+ IN SCHEMA "),
    "public": mentions_public,
    "key that is no bigint": found(
        " (SMALL|BIG)?SERIAL[248]? ", r" (SMALLINT|INTEGER|INT|INT[24]) ((?! , ).)*AS IDENTITY "
    ),
    "name too long or not ASCII": has_an_odd_name,
}


def broken(statement: str) -> set[str]:
    return {name for name, rule in RULES.items() if rule(statement)}


# --- What we ship -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """Of ``load`` or ``render``: where, which file, which placeholders are filled."""

    where: str
    function: str
    file: str
    filled: frozenset[str | None]


def statements_of(file: Path) -> list[str]:
    return split(re.sub(r"\{\w+\}", '"x"', file.read_text(encoding="utf-8")))


_VERBS = """
    SELECT INSERT UPDATE DELETE MERGE WITH VALUES CREATE ALTER DROP GRANT REVOKE REASSIGN COMMENT SET RESET BEGIN START
    COMMIT ROLLBACK SAVEPOINT RELEASE LISTEN UNLISTEN NOTIFY PREPARE EXECUTE DEALLOCATE DECLARE CLOSE DISCARD TRUNCATE
    LOCK COPY DO CALL ANALYZE VACUUM REINDEX CLUSTER
""".split()
# A sentence may begin with "select": only what goes on like SQL counts in lower case.
_SQL = re.compile(
    rf"(?:{'|'.join(_VERBS)}|select|insert into|delete from|update \w+ set|create|alter|drop|grant|revoke)\s+\S"
)
_LEADING = re.compile(r'\A(?:"x"|[\s;])+')


def sql_in(module: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string that begins with a verb of SQL; what is filled in is the name ``"x"``."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in inner | docstrings:
            continue
        text = _LEADING.sub("", text_of(node))
        if _SQL.match(text):
            yield node.lineno, text  # type: ignore[attr-defined]


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or '"x"' for part in node.values)
    return ""


def calls_in(module: Path) -> Iterator[Call]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func).removeprefix("statements.")
        if name in ("load", "render"):
            around = [one for one in functions if one.lineno <= node.lineno <= (one.end_lineno or 0)]
            for file in files_named(node.args[0], around[-1] if around else tree):
                yield Call(f"{module.name}:{node.lineno}", name, file, frozenset(word.arg for word in node.keywords))


def files_named(argument: ast.expr, around: ast.AST) -> list[str]:
    """The constant, or for a variable the constants that it is made from."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    assigned = [node for node in ast.walk(around) if isinstance(node, ast.Assign)]
    values = [node.value for node in assigned if ast.unparse(node.targets[0]) == ast.unparse(argument)]
    constants = {node.value for value in values for node in ast.walk(value) if isinstance(node, ast.Constant)}
    return [file.stem for file in SQL_FILES if file.stem in constants] or ["?"]


CALLS = [call for module in MODULES if module.name != "statements.py" for call in calls_in(module)]
PYTHON_SQL = [
    pytest.param(module, text, id=f"{module.name}:{line}") for module in MODULES for line, text in sql_in(module)
]


def placeholders(file: Path) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(file.read_text(encoding="utf-8")) if name is not None}


# --- The tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SQL_FILES, ids=lambda file: file.name)
def test_every_sql_file_is_portable(file: Path) -> None:
    for statement in statements_of(file):
        assert broken(statement) - {rule for name, rule in EXEMPT if name == file.name} == set(), statement


@pytest.mark.parametrize(("module", "text"), PYTHON_SQL)
def test_every_statement_in_the_modules_is_portable(module: Path, text: str) -> None:
    for statement in split(text):
        assert broken(statement) - {rule for name, rule in EXEMPT if name == module.name} == set(), statement


@pytest.mark.parametrize(("module", "text"), PYTHON_SQL)
def test_a_string_of_several_statements_holds_no_ddl(module: Path, text: str) -> None:
    """Citus takes one DDL statement a call."""
    statements = split(text)
    ddl = [one for one in statements if bare(one).upper().startswith(("CREATE", "ALTER", "DROP", "GRANT", "REVOKE"))]
    assert len(statements) == 1 or not ddl, f"{module.name}: {ddl}"


def test_the_demos_migrations_are_what_tenantry_takes_from_anybody() -> None:
    folders = {file.parent for file in SQL_FILES if file.parent.name == "migrations"}
    assert folders
    for folder in folders:
        assert Migrations.read(folder).newest > 0


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where}-{call.file}")
def test_every_placeholder_is_filled_and_every_file_is_sent_as_it_must_be(call: Call) -> None:
    file = ADAPTER / "sql" / f"{call.file}.sql"
    assert file.is_file(), f"{call.where} names no file of ours"
    if call.function == "render":
        assert call.filled == placeholders(file)
    else:  # one call sends the whole file, as it is
        assert len(statements_of(file)) == 1
        assert not re.search(r"\{\w+\}", file.read_text(encoding="utf-8"))


def test_every_file_is_used() -> None:
    unused = {file.stem for file in (ADAPTER / "sql").rglob("*.sql")} - {call.file for call in CALLS}
    assert unused == set()


def test_every_exemption_is_still_needed() -> None:
    for name, rule in EXEMPT:
        texts = [statement for file in SQL_FILES if file.name == name for statement in statements_of(file)]
        texts += [one for module in MODULES if module.name == name for _, text in sql_in(module) for one in split(text)]
        assert any(rule in broken(statement) for statement in texts), f"{name} no longer needs {rule!r}"


# --- Each rule can fail, and does not fail on its neighbour -----------------------------------------------------------

BAD = {
    "session state": [
        "SET search_path = x",
        "/* quietly */ set role x",
        "SET SESSION AUTHORIZATION x",
        "LISTEN a",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DECLARE a CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_catalog.pg_advisory_lock($1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT set_config('search_path', $1, false)",
    ],
    "temporary object": ["CREATE TEMP TABLE a (id bigint)", "SELECT 1 AS id INTO TEMP a"],
    "not in a transaction": ["CREATE INDEX CONCURRENTLY a ON tenantry.tenants (source)", "VACUUM tenantry.tenants"],
    "type for each tenant": ["CREATE TYPE a AS ENUM ('b')", "CREATE DOMAIN a AS text"],
    "search_path left open": [
        "CREATE FUNCTION tenantry.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = x, public AS 'select 1'",
    ],
    "Citus": [
        "CREATE TRIGGER a AFTER INSERT ON b FOR EACH ROW EXECUTE FUNCTION c()",
        "CREATE TABLE a (id bigint) INHERITS (b)",
        "CREATE TABLE tenantry.a (id bigint REFERENCES other.b (id))",
        "INSERT INTO a (id) VALUES ((SELECT max(id) FROM b))",
        "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
        "UPDATE a SET id = gen_random_uuid()",
    ],
    "value not computed here": [
        "UPDATE tenantry.tenants SET last_seen_at = now() WHERE tenant_id = $1",
        "update a as b set x = 1, y = CURRENT_TIMESTAMP",
        "UPDATE a SET x = clock_timestamp()",
        "UPDATE a SET x = random()",
        "INSERT INTO a (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET at = pg_catalog.now()",
        "INSERT INTO a (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = gen_random_uuid() WHERE a.id = $1",
    ],
    "all columns": [
        "SELECT * FROM a",
        "SELECT DISTINCT * FROM a",
        "SELECT a.* FROM a",
        "SELECT 1, * FROM a",
        "DELETE FROM a RETURNING *",
    ],
    "INSERT without columns": [
        "INSERT INTO a VALUES (1)",
        "INSERT INTO tenantry.a SELECT id FROM b",
        'WITH c AS (SELECT 1) INSERT INTO "a" AS b SELECT 1',
        "INSERT INTO a DEFAULT VALUES",
    ],
    "all tables": ["GRANT SELECT ON ALL TABLES IN SCHEMA a TO b", "REVOKE ALL ON ALL SEQUENCES IN SCHEMA a FROM b"],
    "public": ["SELECT id FROM public.a", "GRANT USAGE ON SCHEMA a TO PUBLIC", "SET LOCAL search_path = a, public"],
    "key that is no bigint": [
        "CREATE TABLE a (id serial PRIMARY KEY)",
        "CREATE TABLE a (id bigserial PRIMARY KEY)",
        "CREATE TABLE a (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
    ],
    "name too long or not ASCII": [f"CREATE TABLE a{'b' * 63} (id bigint)", "CREATE TABLE größe (id bigint)"],
}


@pytest.mark.parametrize(("rule", "statement"), [(rule, text) for rule, texts in BAD.items() for text in texts])
def test_each_rule_can_fail(rule: str, statement: str) -> None:
    assert rule in broken(statement)


def test_no_rule_is_without_a_bad_example() -> None:
    assert set(BAD) == set(RULES)


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL ROLE x",
        "SET LOCAL search_path = x, pg_temp",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "RESET ALL",
        "DEALLOCATE ALL",
        "NOTIFY a",
        "SELECT pg_catalog.pg_advisory_xact_lock($1)",
        "SELECT pg_catalog.pg_advisory_unlock_all()",
        "SELECT count(*), 2 * 3 AS six FROM a WHERE EXISTS (SELECT FROM b)",
        "INSERT INTO tenantry.a AS b (id, at) VALUES ($1, now()) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
        "UPDATE a SET at = $1 WHERE expires_at < now()",
        "CREATE TABLE tenantry.a (id bigint GENERATED ALWAYS AS IDENTITY, n integer, b bigint REFERENCES tenantry.b)",
        "CREATE TABLE a (b bigint REFERENCES c ON UPDATE CASCADE ON DELETE SET NULL, at timestamptz DEFAULT now())",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC",
        "SELECT 'public', 'SELECT * FROM a', '*' -- set role x, public",
        "GRANT SELECT ON a.b, a.c TO d",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'select 1'",
    ],
)
def test_what_is_portable_breaks_no_rule(statement: str) -> None:
    assert broken(statement) == set()


def test_sql_in_a_module_is_found_in_any_kind_of_string(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text(
        '"""SELECT is a word of this docstring."""\n'
        "A = 'SELECT * FROM a'\n"
        "B = f'INSERT INTO {A} ' 'VALUES (1)'\n"
        "C = f'{A};SET LOCAL ROLE {B}'\n"
        "D = 'select 1'\n"
        "E = 'set this to that'\n"
        "def f():\n"
        "    'SET nothing'\n"
        "    return g(\n"
        "        'GRANT a TO b'\n"
        "    )\n"
    )
    assert list(sql_in(module)) == [
        (2, "SELECT * FROM a"),
        (3, 'INSERT INTO "x" VALUES (1)'),
        (4, 'SET LOCAL ROLE "x"'),
        (5, "select 1"),
        (10, "GRANT a TO b"),
    ]


def test_calls_of_load_and_render_are_found_with_the_file_and_what_they_fill(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text(
        "def f(old):\n"
        "    name = 'membership_15' if old else 'membership'\n"
        "    return [*render(name, role=1, login=2), load('role_state'), statements.load('gone')]\n"
    )
    filled = frozenset({"role", "login"})
    assert sorted(calls_in(module), key=lambda call: call.file) == [
        Call("m.py:3", "load", "gone", frozenset()),
        Call("m.py:3", "render", "membership", filled),
        Call("m.py:3", "render", "membership_15", filled),
        Call("m.py:3", "load", "role_state", frozenset()),
    ]
