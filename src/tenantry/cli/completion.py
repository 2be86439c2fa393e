"""Print a completion script for a shell, made from the commands themselves. It is static: nothing runs while you type.

    bash   tenantry completion bash > ~/.local/share/bash-completion/completions/tenantry
    zsh    tenantry completion zsh > "${fpath[1]}/_tenantry"
    fish   tenantry completion fish > ~/.config/fish/completions/tenantry.fish

Exit codes: 0 printed; 2 usage error."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=sorted(_SCRIPTS))


def run(arguments: argparse.Namespace) -> int:
    print(_SCRIPTS[arguments.shell](tuple(nodes())), end="")
    return 0


@dataclass(frozen=True, slots=True)
class Node:
    """One place in the command line: ``path`` ("keys create"), the commands below it and its options with their help,
    what an option's value may be (nothing for a free one), and what the next plain word may be."""

    path: str
    commands: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @property
    def offered(self) -> dict[str, str]:
        """Whatever may come next, with its help."""
        return {**self.commands, **dict.fromkeys(self.words, ""), **self.options}


def nodes() -> Iterator[Node]:
    """All places, the outermost first."""
    from . import COMMANDS, parser_for

    yield Node("", dict(COMMANDS), {"--help": "show help", "--version": "print the version"})
    for name in COMMANDS:
        (commands,) = (a for a in parser_for([name])._actions if isinstance(a, argparse._SubParsersAction))
        yield from _below(name, commands.choices[name])


def _below(path: str, parser: argparse.ArgumentParser) -> Iterator[Node]:
    commands: dict[str, str] = {}
    options: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = {}
    words: list[str] = []
    inner = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands |= {choice.dest: choice.help or "" for choice in action._choices_actions}
            inner = list(action.choices.items())
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            long = next((text for text in action.option_strings if text.startswith("--")), action.option_strings[0])
            options[long] = (action.help or "").replace("%%", "%")
            if action.nargs != 0:
                values[long] = tuple(map(str, action.choices or ()))
        elif action.choices:
            words += map(str, action.choices)
        elif action.metavar == action.dest or (isinstance(action.metavar, str) and action.metavar.islower()):
            words.append(str(action.metavar))  # a word that has to stand there, like `token explain`
    yield Node(path, commands, options, values, tuple(words))
    for name, child in inner:
        yield from _below(f"{path} {name}", child)


def _bash(places: tuple[Node, ...]) -> str:
    moves = "\n".join(f"            {_q(node.path)}) at={_q(node.path)} ;;" for node in places if node.path)
    free = [f"{node.path}|{option}" for node in places for option, choices in node.values.items() if not choices]
    chosen = [
        f"        {_q(f'{node.path}|{option}')}) words={_q(' '.join(choices))} ;;"
        for node in places
        for option, choices in node.values.items()
        if choices
    ]
    offered = [f"        {_q(f'{node.path}|*', glob=True)}) words={_q(' '.join(node.offered))} ;;" for node in places]
    return _BASH.format(moves=moves, free=" | ".join(map(_q, free)), cases="\n".join([*chosen, *offered]))


# No COMPREPLY means file names (-o default). Works in bash 3.2, which macOS has.
_BASH = """\
# Completion of tenantry for bash: made by `tenantry completion bash`.
_tenantry() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="" at="" words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{at:+$at }}${{COMP_WORDS[i]}}" in
{moves}
        esac
    done
    if ((COMP_CWORD > 1)); then before="${{COMP_WORDS[COMP_CWORD - 1]}}"; fi
    COMPREPLY=()
    case "$at|$before" in
        {free}) return ;;
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _tenantry tenantry
"""


def _zsh(places: tuple[Node, ...]) -> str:
    moves = "\n".join(f"            {_q(node.path)}) at={_q(node.path)} ;;" for node in places if node.path)
    cases = []
    for node in places:
        for option, choices in node.values.items():
            what = f"compadd -- {' '.join(map(_q, choices))}" if choices else "_files"
            cases.append(f"        {_q(f'{node.path}|{option}')}) {what}; return ;;")
    for node in places:
        described = " ".join(_q(f"{word}:{_line(help_)}") for word, help_ in node.offered.items())
        cases.append(f"        {_q(f'{node.path}|*', glob=True)}) offered=({described}) ;;")
    return _ZSH.format(moves=moves, cases="\n".join(cases))


_ZSH = """\
#compdef tenantry
# Completion of tenantry for zsh: made by `tenantry completion zsh`.
_tenantry() {{
    local at="" word
    local -a offered
    for word in "${{(@)words[2,CURRENT - 1]}}"; do
        case "${{at:+$at }}$word" in
{moves}
        esac
    done
    case "$at|${{words[CURRENT - 1]}}" in
{cases}
    esac
    _describe -t commands tenantry offered || _files
}}
if [ "$funcstack[1]" = "_tenantry" ]; then _tenantry "$@"; else compdef _tenantry tenantry; fi
"""


def _fish(places: tuple[Node, ...]) -> str:
    lines = ["# Completion of tenantry for fish: made by `tenantry completion fish`."]
    for node in places:
        condition = _q(_fish_condition(node))
        entries = {**node.commands, **dict.fromkeys(node.words, "")}
        for word, help_ in entries.items():
            lines.append(f"complete -c tenantry -f -n {condition} -a {_q(word)} -d {_q(_line(help_))}")
        for option, help_ in node.options.items():
            value = ""
            if option in node.values:
                value = f" -x -a {_q(' '.join(node.values[option]))}" if node.values[option] else " -r"
            lines.append(f"complete -c tenantry -n {condition} -l {option[2:]}{value} -d {_q(_line(help_))}")
    return "\n".join(lines) + "\n"


def _fish_condition(node: Node) -> str:
    if not node.path:
        return "__fish_use_subcommand"
    seen = [f"__fish_seen_subcommand_from {word}" for word in node.path.split()]
    if node.commands:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(node.commands)}")
    return "; and ".join(seen)


def _q(text: str, *, glob: bool = False) -> str:
    """A word for all three shells. ``glob`` leaves a star at the end to the shell's own matching."""
    if glob and text.endswith("*"):
        return f"{_q(text[:-1])}*"
    return "'" + text.replace("'", "'\\''") + "'"


def _line(text: str) -> str:
    return " ".join(text.split())


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
