"""The application's migrations as files: their order, what a file must be, and what a statement must not do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.adapters.postgres.migrations import Migrations, not_portable, refused
from tenantry.adapters.postgres.statements import bare, split
from tenantry.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "migrations"
    made.mkdir()
    return made


def fill(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).write_text("select 1")
    return folder


def names_of(migrations: Migrations) -> list[str]:
    return [migration.name for migration in migrations]


# --- The order ------------------------------------------------------------------------------------------------------


def test_files_are_numbered_in_the_order_of_their_names(folder: Path) -> None:
    read = Migrations.read(fill(folder, ["003_c.sql", "001_a.sql", "002_b.post.sql", "README.md"]))
    assert [(one.number, one.name, one.phase) for one in read] == [
        (1, "001_a.sql", "pre"),
        (2, "002_b.post.sql", "post"),
        (3, "003_c.sql", "pre"),
    ]


def test_the_ending_does_not_take_part_in_the_order(folder: Path) -> None:
    """With it, "a.post.sql" would come after "a.p.sql" and "a.z.sql" before "a_.sql", by the phase of a file."""
    read = Migrations.read(fill(folder, ["a.post.sql", "a.p.sql", "a_b.sql", "B.sql", "a-b.post.sql"]))
    assert names_of(read) == ["B.sql", "a.post.sql", "a-b.post.sql", "a.p.sql", "a_b.sql"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["002_a.sql", "002_a.post.sql"], "have no order"),
        (["notes.sql", "notes.post.sql"], "have no order"),
        (["001_a.sql", "002_b.sql", "002_c.sql"], "share a number"),
        (["001_a.sql", "001-b.post.sql"], "share a number"),
        (["9_a.sql", "10_b.sql"], "of different width"),
        (["001_a.sql", "0002_b.sql"], "of different width"),
        (["001_a.sql", "fix.sql"], "begin every name with a number, or none"),
        (["001_a.sql", "002_b.sql", "-003_c.sql"], "begin every name with a number, or none"),
        (["001_a.SQL"], r"write \.sql in lower case"),
        (["001_a.POST.sql"], r"write \.post\.sql in lower case"),
        (["001_größe.sql"], "printable ASCII"),
        (["001_a\nb.sql"], "printable ASCII"),
    ],
)
def test_an_order_that_is_in_doubt_is_refused_and_the_files_are_named(
    folder: Path, names: list[str], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Migrations.read(fill(folder, names))
    assert repr(names[-1]) in str(caught.value)


@given(ordinals=st.lists(st.integers(0, 10**14), unique=True, min_size=1, max_size=20), data=st.data())
def test_numbers_of_one_width_order_the_files_whatever_the_rest_of_their_names(
    ordinals: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rest = st.sampled_from(["_a", "-b", "", " c", ".d", "~e"])
    ending = st.sampled_from([".sql", ".post.sql"])
    names = [f"{number:015}{data.draw(rest)}{data.draw(ending)}" for number in ordinals]
    read = Migrations.read(fill(tmp_path_factory.mktemp("many"), names))
    assert [int(name[:15]) for name in names_of(read)] == sorted(ordinals)


# --- Versions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "minimum"),
    [
        (["1.sql", "2.sql"], 2),
        (["1.sql", "2.post.sql"], 1),
        (["1.post.sql", "2.sql", "3.post.sql", "4.post.sql"], 2),
        (["1.post.sql"], 0),
    ],
)
def test_the_application_needs_all_up_to_the_last_pre(folder: Path, names: list[str], minimum: int) -> None:
    read = Migrations.read(fill(folder, names))
    assert (read.minimum, read.newest) == (minimum, len(names))
    assert (read.up_to("pre"), read.up_to("post")) == (minimum, len(names))


def test_a_tenant_lacks_what_comes_after_its_version() -> None:
    three = Migrations.of(["select 1", "select 2", "select 3"])
    assert [one.number for one in three.after(1)] == [2, 3]
    assert [one.number for one in three.after(0)] == [1, 2, 3]
    assert three.after(3) == three.after(7) == ()


def test_scripts_have_names_and_are_of_phase_pre() -> None:
    assert [(one.number, one.name, one.phase) for one in Migrations.of(["select 1", "select 2;"])] == [
        (1, "001", "pre"),
        (2, "002", "pre"),
    ]
    assert (Migrations.of([]).newest, Migrations.of([]).minimum) == (0, 0)


# --- A file ---------------------------------------------------------------------------------------------------------


def test_a_script_is_cut_into_its_statements(folder: Path) -> None:
    (folder / "1.sql").write_text("create table a (id int); -- ; \ncreate index on a (id);\n")
    (one,) = Migrations.read(folder)
    assert one.statements == ("create table a (id int)", "-- ; \ncreate index on a (id)")


def test_line_ends_and_a_byte_order_mark_do_not_change_a_migration(folder: Path) -> None:
    """A checkout on another system may write them: the text of a string is then the same in every tenant."""
    text = "-- größe\ninsert into a (t) values ('one\ntwo')\n"
    (folder / "1.sql").write_bytes(text.encode())
    (folder / "2.sql").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (folder / "3.sql").write_bytes(text.replace("\n", "\r").encode())
    one, two, three = Migrations.read(folder)
    assert one.checksum == two.checksum == three.checksum == hashlib.sha256(text.encode()).hexdigest()
    assert one.statements == two.statements == three.statements


def test_any_other_change_changes_the_checksum() -> None:
    checksums = {Migrations.of([text])[0].checksum for text in ("select 1", "select 2", "select  1", "select 1\n")}
    assert len(checksums) == 4


@pytest.mark.parametrize("name", ["._1.sql", ".#1.sql", "1.sql~", "1.sql.orig", "sql"])
def test_what_editors_leave_behind_is_no_migration(folder: Path, name: str) -> None:
    fill(folder, ["1.sql", name])
    assert names_of(Migrations.read(folder)) == ["1.sql"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"select '\xff'", "is not UTF-8"),
        ("select 1".encode("utf-16"), "is not UTF-8"),
        ("select 1".encode("utf-16-le"), "holds a NUL"),
        (b"select '\0'", "holds a NUL"),
        (b"", "holds no statement"),
        (b"\xef\xbb\xbf", "holds no statement"),
        (b" ;; -- nothing\n /* at /* all; */ */ ;\n", "holds no statement"),
        (b"create function f() returns int begin atomic select 1; end", "BEGIN ATOMIC"),
        (b"select 1; select 2; grant all on a to b", r"Statement 3 of migration '7\.sql' changes rights"),
    ],
)
def test_a_file_that_is_no_migration_is_named_with_the_mend(folder: Path, content: bytes, words: str) -> None:
    (folder / "7.sql").write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        Migrations.read(folder)
    assert "'7.sql'" in str(caught.value)


def test_a_text_that_is_no_unicode_is_refused_as_a_file_would_be() -> None:
    with pytest.raises(ConfigurationError, match="'002' is not UTF-8"):
        Migrations.of(["select 1", "select '\ud800'"])


def test_a_file_that_cannot_be_read_is_named_and_never_waited_for(folder: Path) -> None:
    file = folder / "1.sql"
    for make in (
        lambda: file.symlink_to(file),  # a loop
        lambda: file.symlink_to(folder / "gone"),
        file.mkdir,
        lambda: os.mkfifo(file),
    ):
        make()
        with pytest.raises(ConfigurationError, match=r"Migration '1\.sql' cannot be read"):
            Migrations.read(folder)
        file.rmdir() if file.is_dir() else file.unlink()


def test_a_folder_that_is_none_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("select 1")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("missing", "file", "loop"):
        with pytest.raises(ConfigurationError, match=f"MCP_HTTP_TENANT_MIGRATIONS names .*{name}.* cannot be read"):
            Migrations.read(tmp_path / name)
    (tmp_path / "README").write_text("nothing here")
    with pytest.raises(ConfigurationError, match=r"MCP_HTTP_TENANT_MIGRATIONS .* holds no \.sql file"):
        Migrations.read(tmp_path)


# --- What a statement must not do -----------------------------------------------------------------------------------

PIN = "search_path FROM CURRENT"
REFUSED = {
    "is a command of psql": [r"\connect other", "\\restrict x\nselect 1"],
    "controls the transaction": [
        "BEGIN",
        "begin isolation level serializable",
        "START TRANSACTION",
        "COMMIT",
        "commit and chain",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "RELEASE a",
        "PREPARE TRANSACTION 'a'",
        "COMMIT PREPARED 'a'",
        "SET TRANSACTION READ ONLY",
        "SET LOCAL TRANSACTION READ ONLY",
        "-- a comment\n/* and /* one */ more */ commit",
    ],
    "cannot run in a transaction": [
        "CREATE INDEX CONCURRENTLY ON notes (title)",
        "create unique index concurrently i on notes (title)",
        "DROP INDEX CONCURRENTLY i",
        "REINDEX TABLE CONCURRENTLY notes",
        "REINDEX (CONCURRENTLY) TABLE notes",
        "REINDEX (VERBOSE) DATABASE d",
        "REINDEX SCHEMA a",
        "REINDEX SYSTEM d",
        "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
        "VACUUM notes",
        "CHECKPOINT",
        "CLUSTER",
    ],
    "changes the session": [
        "SET ROLE other",
        "set/**/role other",
        "SET search_path = x",
        "SET\nsearch_path TO x",
        "SET statement_timeout = 0",
        'SET "role" = x',
        "SET SESSION AUTHORIZATION x",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET LOCAL ROLE other",
        "SET LOCAL role = other",
        'SET LOCAL "role" = other',
        'SET LOCAL U&"\\0072ole" = other',
        "SET LOCAL SESSION AUTHORIZATION x",
        "SET LOCAL session_authorization TO x",
        "SET LOCAL session_replication_role = replica",
        "SET LOCAL search_path = x",
        "SET LOCAL SCHEMA 'x'",
        "SET LOCAL NAMES 'latin1'",
        "SET LOCAL client_encoding TO latin1",
        "SET LOCAL standard_conforming_strings = off",
        "SET LOCAL transaction_read_only = off",
        "RESET ROLE",
        "RESET ALL",
        "DISCARD ALL",
        "LOAD 'x'",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SELECT \"set_config\" ('role', 'x', true)",
    ],
    "uses what all tenants": [
        "LISTEN a",
        "UNLISTEN *",
        "NOTIFY a",
        "SELECT pg_notify('a', '')",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DEALLOCATE ALL",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH c",
        "MOVE c",
        "CLOSE c",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_catalog.pg_try_advisory_lock_shared(1)",
        "SELECT pg_advisory_unlock_all()",
    ],
    "makes a temporary object": [
        "CREATE TEMP TABLE a (id int)",
        "create local temporary table a (id int)",
        "CREATE OR REPLACE TEMP VIEW a AS SELECT 1",
        "CREATE TEMPORARY SEQUENCE a",
        "SELECT 1 AS one INTO TEMP a",
        "SELECT 1 AS one INTO LOCAL TEMP a",
        "SELECT 1 AS one INTO TEMPORARY TABLE a",
        "CREATE TABLE pg_temp.a (id int)",
    ],
    "concerns what all tenants share": [
        "CREATE DATABASE a",
        "ALTER DATABASE a SET search_path = x",
        "CREATE ROLE a",
        "ALTER USER a SUPERUSER",
        "DROP GROUP a",
        "CREATE SCHEMA IF NOT EXISTS a",
        "ALTER SCHEMA a RENAME TO b",
        "DROP SCHEMA a CASCADE",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "COMMENT ON EXTENSION pg_trgm IS 'x'",
        "DROP TABLESPACE a",
        "CREATE OR REPLACE TRUSTED LANGUAGE a",
        "CREATE SERVER a FOREIGN DATA WRAPPER b",
        "CREATE USER MAPPING FOR a SERVER b",
        "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
        "CREATE EVENT TRIGGER a ON ddl_command_end EXECUTE FUNCTION b()",
        "CREATE PUBLICATION a FOR ALL TABLES",
        "DROP SUBSCRIPTION a",
        "CREATE FOREIGN DATA WRAPPER a",
        "CREATE CAST (a AS b) WITHOUT FUNCTION",
        "CREATE ACCESS METHOD a TYPE TABLE HANDLER b",
        "DROP TRANSFORM FOR a LANGUAGE b",
        "ALTER LARGE OBJECT 1 OWNER TO a",
        "ALTER SYSTEM SET fsync = off",
    ],
    "changes rights or owners": [
        "GRANT SELECT ON notes TO PUBLIC",
        "REVOKE ALL ON notes FROM x",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
        "REASSIGN OWNED BY a TO b",
        "DROP OWNED BY a",
        "ALTER TABLE notes OWNER TO x",
        "SECURITY LABEL ON TABLE notes IS 'x'",
        "ALTER FUNCTION f() OWNER TO CURRENT_USER",
    ],
    "makes a type for each tenant": [
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE DOMAIN positive AS int CHECK (value > 0)",
    ],
    "copies from or to": ["COPY notes (id, title) FROM stdin", "COPY notes TO PROGRAM 'x'"],
    "names a schema": [
        "CREATE TABLE public.notes (id int)",
        'create table "public"."notes" (id int)',
        "SELECT id FROM public . notes",
        "CREATE TABLE a (v public.vector(3))",
        "UPDATE tenantry.tenants SET version = 9",
        "SELECT version FROM tenantry.tenants",
        "CREATE TABLE IF NOT EXISTS other.notes (id int)",
        "ALTER TABLE IF EXISTS ONLY other.notes ADD x int",
        "INSERT INTO other.notes (id) VALUES (1)",
        "WITH a AS (SELECT 1 AS id) INSERT INTO other.notes (id) SELECT id FROM a",
        "UPDATE ONLY other.notes SET id = 1",
        "DELETE FROM other.notes",
        "TRUNCATE other.notes",
        "TRUNCATE ONLY other.notes",
        "ALTER SEQUENCE other.numbers RESTART",
        "LOCK other.notes",
        "DROP VIEW IF EXISTS other.recent",
        "CREATE INDEX i ON other.notes (id)",
        "CREATE UNIQUE INDEX ON ONLY other.notes (id)",
        "CREATE OR REPLACE CONSTRAINT TRIGGER t AFTER INSERT ON other.notes EXECUTE FUNCTION f()",
        "CREATE POLICY p ON other.notes USING (true)",
        "CREATE TRIGGER t BEFORE INSERT ON other.notes EXECUTE FUNCTION f()",
        "CREATE OR REPLACE FUNCTION other.f() RETURNS int LANGUAGE sql AS 'select 1'",
        "DROP FUNCTION IF EXISTS other.f()",
        "CREATE PROCEDURE other.p() LANGUAGE sql AS 'select 1'",
        "CREATE TABLE a (id bigint REFERENCES tenant_acme_com.notes)",
        "CREATE TABLE a PARTITION OF other.notes DEFAULT",
        "ALTER TABLE notes SET SCHEMA other",
        "INSERT INTO notes (id) SELECT id FROM tenant_acme_com.notes",
        f"SELECT n.id FROM notes AS n JOIN t_{'a2' * 16}.notes AS m ON n.id = m.id",
    ],
    "leaves open where a function finds names": [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1'",
        "create or replace procedure f() language sql external security definer as $$ select 1 $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'select 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = a, \"public\" AS 'select 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path TO 'public', 'x' AS 'select 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = \"$user\" AS 'select 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = DEFAULT AS 'select 1'",
        f"CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS $$ select 1 -- SET {PIN} $$",
        f"CREATE FUNCTION f() RETURNS int SECURITY DEFINER /* SET {PIN} */ LANGUAGE sql AS 'select 1'",
        "ALTER FUNCTION f() SECURITY DEFINER",
        "ALTER FUNCTION f() SET search_path = public",
        "ALTER FUNCTION f() RESET search_path",
        "ALTER ROUTINE f() RESET ALL",
    ],
}


@pytest.mark.parametrize(
    ("reason", "statement"), [(reason, text) for reason, texts in REFUSED.items() for text in texts]
)
def test_a_statement_that_leaves_the_transaction_the_schema_or_the_role_is_refused(reason: str, statement: str) -> None:
    assert (refused(statement) or "").startswith(reason)
    with pytest.raises(ConfigurationError, match=f"Statement 2 of migration '001' {reason}"):
        Migrations.of([f"select 1; {statement}"])


# In this order they run in one schema.
ACCEPTED = [
    'create table notes (id bigint generated always as identity primary key, title text, "set" text, "grant" text)',
    "insert into notes (title) values ('begin; commit; grant all on public.x to y') -- commit; set role x",
    '/* reset role; */ update notes set "set" = \'public.\', "grant" = $a$ ; create temp table x $a$',
    "create index on notes (title)",
    "create unique index if not exists notes_title on notes (lower(title)) where title is not null",
    "create table temp (a int references notes (id) on update cascade on delete set null)",
    "create unlogged table concurrent (begin int, commit int, role text)",
    "insert into temp (a) select n.id from notes as n join notes as m on n.id = m.id",
    "insert into temp values (null)",
    "create function f() returns int language plpgsql as $$ begin set local role x; commit; return 1; end $$",
    f"create function g() returns bigint language sql security definer set {PIN} as 'select count(*) from notes'",
    "create function h() returns int language sql security definer set search_path = pg_catalog, pg_temp as 'select 1'",
    "create function i() returns int language sql security definer set search_path to '' as 'select 1'",
    "create function j() returns trigger language plpgsql as 'begin return new; end'",
    "alter function f() security definer set search_path from current",
    "create trigger t before update of title on notes for each row when (old.id = new.id) execute function j()",
    "create trigger u before update on temp for each row execute function pg_catalog.tsvector_update_trigger()",
    "drop trigger if exists t on notes",
    "comment on table notes is 'grant all on public.notes to public'",
    "comment on column notes.title is 'x'",
    "set local lock_timeout = '2s'",
    "SET LOCAL TIME ZONE 'UTC'",
    "set local my_app.setting to 'x'",
    "set constraints all immediate",
    "create view recent as select n.id, n.title from notes as n order by n.id desc limit 3",
    "create materialized view counted as select n.id from notes as n",
    "create unique index on counted (id)",
    "refresh materialized view concurrently counted",
    "do $$ begin perform 1; end $$",
    "alter table notes enable row level security",
    "create policy own on notes using (exists (select from notes as a join notes as b on a.id = b.id))",
    "alter table notes add column at timestamptz not null default now(), add constraint one check (id > 0) no inherit",
    "update notes set title = extract(year from notes.at)::text || substring(title from 2)",
    "select pg_catalog.setval('notes_id_seq', 7)",
    "lock table notes in share mode",
    "truncate table notes, temp",
    "analyze notes",
    "drop table temp",
]


@pytest.mark.anyio
async def test_what_a_tenant_needs_is_accepted_and_runs_in_one_transaction(root: asyncpg.Connection) -> None:
    await root.execute("create schema tenant_x")
    async with root.transaction():
        await root.execute("set local search_path = tenant_x, pg_temp")
        for migration in Migrations.of(ACCEPTED):
            for statement in migration.statements:
                await root.execute(statement)
                assert root.is_in_transaction()
    assert await root.fetchval("select to_regclass('tenant_x.recent')::text") == "tenant_x.recent"


@given(st.text(st.characters(exclude_characters="'\0", exclude_categories=["Cs"])))
def test_nothing_in_a_string_a_comment_a_name_or_a_body_is_a_statement(text: str) -> None:
    hidden = [
        f"insert into notes (title) values ('{text}')",
        f"select $body${text}$body$ as body" if "$body$" not in text else "select 1",
        f"-- {' '.join(text.splitlines())}\nselect 1",
        f'select 1 as "{text.replace(chr(34), "")}x"',
    ]
    assert [refused(statement) for statement in hidden] == [None] * 4


@pytest.mark.parametrize("hidden", ["commit; grant all on public.x to y", "set role x", "create trigger"])
def test_what_is_hidden_in_any_way_is_not_looked_at(hidden: str) -> None:
    for statement in (
        f"select '{hidden}'",
        f"select E'\\'{hidden}'",
        f'select 1 as "{hidden}"',
        f"select $${hidden}$$",
        f"select $a$ $$ {hidden} $$ $a$",
        f"-- {hidden}\nselect 1",
        f"-- {hidden}\rselect 1",
        f"/* {hidden} /* */ {hidden} */ select 1",
        f"select 1 -- {hidden}",
    ):
        assert refused(statement) is None
        assert not_portable(statement) is None
        assert len(split(statement)) == 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("", ""),
        ("-- a\n/* b /* c */ */", ""),
        ("select 1.5,a", "select 1 . 5 , a"),
        ("SELECT '', 'a', E'', $$a$$", "SELECT '' , '_' , '_' , '_'"),
        ('select "a", "A b", "a"".b"', 'select "a" , "_" , "_"'),
        ("set/**/role--x\r=y", "set role = y"),
        ("select $1,a$b$c", "select $1 , a$b$c"),
    ],
)
def test_a_bare_statement_is_its_own_words(statement: str, words: str) -> None:
    assert bare(statement) == words


# --- What Citus would refuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f()", "trigger"),
        ("create or replace constraint trigger t after insert on notes execute function f()", "trigger"),
        ("CREATE TABLE a (id int) INHERITS (b)", "inheritance"),
        ("ALTER TABLE a INHERIT b", "inheritance"),
        ("UPDATE notes SET key = gen_random_uuid()", "volatile function in UPDATE"),
        ("update only notes as n set at = 1, r = 2 + pg_catalog.random()", "volatile function in UPDATE"),
        ("WITH a AS (UPDATE notes SET at = clock_timestamp() RETURNING id) SELECT id FROM a", "volatile function in"),
        ("INSERT INTO a (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET at = now()", "not immutable in ON CONFLICT"),
        ("INSERT INTO a (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET at = current_timestamp", "not immutable in"),
        ("INSERT INTO a (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET at = random()", "not immutable in ON CONFLICT"),
        ("INSERT INTO a (id) VALUES ((SELECT max(id) FROM b))", "subquery in VALUES"),
        ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", "MERGE"),
        ("CREATE TABLE a (id int REFERENCES other.b (id))", "foreign key into another schema"),
        ("ALTER TABLE one.a ADD FOREIGN KEY (id) REFERENCES two.b (id)", "foreign key into another schema"),
    ],
)
def test_what_citus_refuses_is_told_and_not_refused_for_it(statement: str, reason: str) -> None:
    assert reason in (not_portable(statement) or "")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a (id uuid DEFAULT gen_random_uuid(), at timestamptz DEFAULT now(), CHECK (id > 0) NO INHERIT)",
        "CREATE TABLE one.a (id int REFERENCES one.b ON UPDATE CASCADE ON DELETE SET NULL, x float DEFAULT random())",
        "UPDATE notes SET at = now() WHERE id = 1",
        "INSERT INTO a (id, at) VALUES (gen_random_uuid(), now()) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
        "INSERT INTO a (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1 WHERE a.at < now()",
        "INSERT INTO a (id) SELECT id FROM b",
        "SELECT id FROM a ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED",
        'UPDATE a SET "random" = 1, r = $1',
        "CREATE TABLE a PARTITION OF b FOR VALUES IN (1)",
    ],
)
def test_what_citus_runs_is_not_warned_of(statement: str) -> None:
    assert not_portable(statement) is None


def test_what_is_not_portable_is_no_reason_to_refuse_a_migration() -> None:
    script = "create trigger t before insert on notes for each row execute function f()"
    assert Migrations.of([script])[0].statements == (script,)
