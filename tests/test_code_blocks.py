"""What the documents print is run, or at least read by whoever would run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import tenantry
from tenantry.cli import COMMANDS, parser_for

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^( *)```([\w+-]+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
# Programs of other people that a reader has or is told to install.
PROGRAMS = frozenset(
    """[ . bash cat cd chmod claude code codex cp curl docker echo export flyctl fly gemini gh git helm jq kubectl
    ls mkdir mkdocs mv node npm npx openssl pip printf psql python railway render rm set source tee test
    umask unset uv uvicorn""".split()
)
# Clients: run against one in tests/cli/test_service_accounts.py.
NEED_A_SERVER = frozenset({"docs/clients/service-accounts.md"})
# Answers and configuration in the forms of others; ours are read below.
UNREAD = frozenset({"csv", "text", "console", "nginx", "sql", "ini", "dotenv", "http", "dockerfile"})


class Block(NamedTuple):
    page: str
    number: int
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for number, (indent, language, text) in enumerate(_BLOCK.findall(page.read_text()), 1):
            plain = "\n".join(line.removeprefix(indent) for line in text.splitlines())
            yield Block(str(page.relative_to(ROOT)), number, language, plain + "\n")


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in blocks() if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=lambda block: f"{block.page}:{block.number}")


@of("python")
def test_a_python_block_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    """As a module in a process of its own: what it defines is defined, what it calls works."""
    (tmp_path / "block.py").write_text(block.text)
    compile(block.text, block.page, "exec")
    if block.page in NEED_A_SERVER:
        return
    sources = str(Path(tenantry.__file__).parents[1])
    settings = {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_API_KEY": "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"}
    done = subprocess.run(
        [sys.executable, "-c", "import block"],
        cwd=tmp_path,
        env={**os.environ, **settings, "PYTHONPATH": sources},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@of("sh", "bash")
def test_a_shell_block_is_shell_and_calls_what_there_is(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    strange = [command for command in _commands(block.text) if not _known(command)]
    assert strange == []


@of("json", "jsonc")
def test_a_json_block_is_json(block: Block) -> None:
    json.loads(re.sub(r"^\s*//.*$", "", block.text, flags=re.MULTILINE))


@of("toml")
def test_a_toml_block_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


@of("yaml")
def test_a_yaml_block_is_yaml(block: Block) -> None:
    list(yaml.safe_load_all(block.text))


def test_no_block_is_in_a_language_that_nothing_reads() -> None:
    read = {"python", "sh", "bash", "json", "jsonc", "toml", "yaml", "ts", "js", "mjs"} | UNREAD
    assert [block for block in blocks() if block.language not in read] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_a_document(name: str) -> None:
    assert any(re.search(rf"\btenantry {name}\b", page.read_text()) for page in PAGES)


def _commands(script: str) -> Iterator[list[str]]:
    """The words of every simple command, roughly: comments, heredocs, redirections and assignments are taken away."""
    script = re.sub(r"<<-?\s*'?(\w+)'?.*?^\1$", "", script, flags=re.DOTALL | re.MULTILINE)
    pending = ""
    for line in re.sub(r"\\\n", " ", script).splitlines():
        lexer = shlex.shlex(pending + line, posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            found = [*lexer, ";"]
        except ValueError:  # a quotation that goes on in the next line
            pending += line + "\n"
            continue
        pending = ""
        yield from _simple(found)


def _simple(found: list[str]) -> Iterator[list[str]]:
    words: list[str] = []
    for word in found:
        if set(word) <= set(";&|()"):
            plain = _plain(words)
            if plain:
                yield plain
            words = []
        else:
            words.append(word)


def _plain(words: list[str]) -> list[str]:
    kept: list[str] = []
    redirected = False
    for word in words:
        if redirected:
            redirected = False
        elif set(word) <= set("<>") and word:
            redirected = True
        elif kept or not re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL):
            kept.append(word)
    return kept


def _known(command: list[str]) -> bool:
    program, *words = command
    if program in ("for", "done", "fi"):
        return True
    if program in ("do", "then", "else", "if", "while"):
        return not words or _known(words)
    if program == "tenantry":
        try:
            parser_for(words).parse_args(words)
        except SystemExit as ended:
            return not ended.code
        return True
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return all(word in targets or "=" in word for word in words)
    if program == "python" and words[:1] == ["-m"]:
        return find_spec(words[1]) is not None
    return program in PROGRAMS
