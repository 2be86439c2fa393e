"""``tenantry completion``: scripts that the shells themselves take, made from the commands themselves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry.cli import COMMANDS, parser_for
from tenantry.cli.completion import nodes

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def script(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def write(shell: str) -> Path:
        path = tmp_path_factory.mktemp("completion") / f"tenantry.{shell}"
        done = run("completion", shell)
        assert (done.returncode, done.stderr) == (0, "")
        path.write_text(done.stdout)
        return path

    return write


def a_shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine, and no package of ours brings it")
    return found


def offered_by_bash(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words, in a shell that has read nothing but the script."""
    lines = (
        f"source {script}; COMP_WORDS=(tenantry {' '.join(map(repr, words))}); COMP_CWORD={len(words)}; "
        "complete -p tenantry >/dev/null && _tenantry && printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        [a_shell("bash"), "--norc", "--noprofile", "-eu", "-c", lines], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_bash_offers_all_commands_and_then_what_each_takes(script: Callable[[str], Path]) -> None:
    bash = script("bash")
    assert offered_by_bash(bash, "") == {*COMMANDS, "--help", "--version"}
    assert offered_by_bash(bash, "ke") == {"keys"}
    assert {"create", "list", "rotate", "revoke", "import"} <= offered_by_bash(bash, "keys", "")
    assert offered_by_bash(bash, "keys", "--json", "cr") == {"create"}
    assert offered_by_bash(bash, "keys", "create", "--na") == {"--name"}
    assert offered_by_bash(bash, "token", "e") == {"explain"}


def test_bash_offers_the_values_of_an_option_and_files_where_they_are_free(script: Callable[[str], Path]) -> None:
    bash = script("bash")
    assert offered_by_bash(bash, "init", "--platform", "r") == {"railway", "render"}
    assert offered_by_bash(bash, "client-config", "cu") == {"cursor"}
    assert offered_by_bash(bash, "init", "--file", "") == set()  # then bash itself offers files


def test_every_option_of_every_command_is_in_every_script(run: Run) -> None:
    places = list(nodes())
    assert len(places) > len(COMMANDS)
    for shell in ("bash", "zsh", "fish"):
        text = run("completion", shell).stdout
        for node in places:
            for option in node.options:
                assert (option in text) or (shell == "fish" and f"-l {option[2:]}" in text), (shell, node.path, option)


def test_every_place_is_one_that_the_parsers_take() -> None:
    for node in nodes():
        if node.path and not node.commands:
            with pytest.raises(SystemExit) as ended:
                parser_for(node.path.split()).parse_args([*node.path.split(), "--help"])
            assert ended.value.code == 0


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_take_their_scripts(shell: str, script: Callable[[str], Path]) -> None:
    done = subprocess.run([a_shell(shell), "-n", str(script(shell))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_offers_commands(script: Callable[[str], Path]) -> None:
    lines = f"source {script('fish')}; complete -C 'tenantry keys cr'"
    done = subprocess.run([a_shell("fish"), "-N", "-c", lines], capture_output=True, text=True, check=False)
    assert done.stdout.split("\t")[0] == "create"
