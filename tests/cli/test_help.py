"""``tenantry help``: the documents and the commands themselves, so that nothing has to be kept in step."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry.cli import COMMANDS, parser_for
from tenantry.cli.help import TOPICS
from tenantry.errors import REASONS
from tenantry.settings import Settings

from .test_main import without_packages

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]


def test_the_list_has_every_command_and_every_topic(run: Run) -> None:
    listed = re.findall(r"^  (\S+)", run("help").stdout, re.MULTILINE)
    assert listed == [*COMMANDS, *TOPICS]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_its_page_in_lines_that_fit(topic: str, run: Run) -> None:
    done = run("help", topic, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    prose = [line for line in done.stdout.splitlines() if not line.startswith("    ")]
    assert max(map(len, prose)) <= 80 or "`" not in done.stdout
    assert "](" not in "\n".join(prose)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_the_command_s(command: str, run: Run) -> None:
    own = run(command, "--help")
    assert own.returncode == 0
    assert own.stdout.rstrip() in run("help", command).stdout


def test_the_help_of_an_action(run: Run) -> None:
    assert run("help", "keys", "import").stdout.startswith("usage: tenantry keys import")


@pytest.mark.parametrize("words", [("dance",), ("keys", "dance"), ("settings", "dance"), ("MCP_HTTP_DANCE",)])
def test_what_there_is_not_is_2(words: tuple[str, ...], run: Run) -> None:
    done = run("help", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`tenantry help` lists" in done.stderr


def test_every_setting_and_every_reason_has_its_entry() -> None:
    from tenantry.cli.help import _entry

    for name in Settings.model_fields:
        assert f"MCP_HTTP_{name.upper()}" in _entry(f"MCP_HTTP_{name.upper()}")
    for reason, words in REASONS.items():
        assert words.description in _entry(reason)


def test_a_setting_and_a_reason_from_the_command_line(run: Run) -> None:
    assert "MCP_HTTP_CLOCK_SKEW" in run("help", "clock_skew").stdout
    assert "ask for audience=" in run("help", "token_encrypted").stdout


def test_each_provider_client_and_platform_has_its_page(run: Run) -> None:
    for folder in ("providers", "clients", "deploy"):
        for page in (ROOT / "docs" / folder).glob("*.md"):
            title = page.read_text().splitlines()[0].lstrip("# ").replace("`", "")
            assert page.name == "README.md" or title.upper() in run("help", page.stem).stdout


@pytest.mark.parametrize("words", [["help"], ["help", "init"], ["help", "token_expired"], ["help", "policy"]])
def test_reading_needs_no_package(words: list[str]) -> None:
    assert without_packages(*words).returncode == 0


def test_the_help_of_every_command_needs_no_package() -> None:
    for command in COMMANDS:
        done = without_packages(command, "--help")
        assert (done.returncode, done.stdout[:15]) == (0, "usage: tenantry"), (command, done.stderr)


# --- The documents ----------------------------------------------------------------------------------------------------

PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def command_lines(page: Path) -> list[str]:
    """Every line of a shell block that begins with ``tenantry``, without what the shell does with it."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [re.split(r"\s+(?:[<>|#]|&&)", line)[0] for line in lines if line.startswith("tenantry ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_of_a_document_is_one_that_the_command_takes(page: Path) -> None:
    for line in command_lines(page):
        words = shlex.split(line)[1:]
        try:
            parser_for(words).parse_args(words)
        except SystemExit as ended:
            pytest.fail(f"{page.name}: {line!r} ended with {ended.code}")


def test_the_page_of_the_command_line_names_every_command() -> None:
    table = (ROOT / "docs" / "cli.md").read_text().partition("## Exit codes")[0]
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)) == set(COMMANDS)
