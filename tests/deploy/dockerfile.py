"""Performs a Dockerfile without a container engine: its instructions, in order, in a clean directory.

Absolute paths of the image (/opt, /srv, /build) lie below a directory of ours, in commands too. The base image is this
interpreter with a pip of its own. What a container would add (its own network, no other files) is not had here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[2]
_PLACES = re.compile(r"(?<![\w./-])/(?=(?:opt|srv|build)\b)")
_FORM = re.compile(r"^\s*(\[.*\])\s*$")


@dataclass
class Stage:
    """``root``: what stands for its "/"; ``env``: what its ENV lines say; ``user``, ``stop``, ``health`` and
    ``command``: what the image would be run with."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    directory: Path = Path("/")
    user: str = "0:0"
    stop: str = "SIGTERM"
    ports: list[int] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def path(self, text: str) -> Path:
        """Where a path of the image is."""
        joined = Path("/") / self.directory.relative_to(self.root) / text if not text.startswith("/") else Path(text)
        return self.root / joined.relative_to("/")

    def placed(self, text: str) -> str:
        """A command or a value with the image's paths where they are."""
        return _PLACES.sub(f"{self.root}/", text)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, the rest of its line), continued lines joined, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def performed(dockerfile: Path, context: Path, clean: Path) -> Stage:
    """The last stage of ``dockerfile``, whose files are then below ``clean``. Raises ``CalledProcessError`` for a
    command that fails."""
    base = _base(clean / "base")
    everywhere: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for word, rest in instructions(dockerfile.read_text()):
        if word == "ARG" and stage is None:
            name, _, value = rest.partition("=")
            everywhere[name] = value
        elif word == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else "last"
            root = clean / "stages" / name
            root.mkdir(parents=True)
            stage = stages[name] = Stage(root, directory=root)
        else:
            assert stage is not None
            _perform(stage, word, rest, context, stages, base)
    assert stage is not None
    return stage


def _perform(stage: Stage, word: str, rest: str, context: Path, stages: dict[str, Stage], base: Path) -> None:
    if word == "ARG":
        name, _, value = rest.partition("=")
        stage.arguments[name] = value
    elif word in ("ENV", "LABEL"):
        pairs = (entry.partition("=") for entry in shlex.split(rest))
        known = {**stage.arguments, "PATH": "$PATH"}
        values = {name: Template(value).safe_substitute(known) for name, _, value in pairs}
        (stage.env if word == "ENV" else stage.labels).update(values)
    elif word == "WORKDIR":
        stage.directory = stage.path(rest)
        stage.directory.mkdir(parents=True, exist_ok=True)
    elif word == "COPY":
        _copy(stage, rest, context, stages)
    elif word == "RUN":
        run = ["/bin/sh", "-c", stage.placed(rest)]
        env = {**os.environ, **_build_env(stage), "PATH": f"{base}:{os.environ['PATH']}"}
        subprocess.run(run, cwd=stage.directory, env=env, check=True, capture_output=True, text=True, timeout=300)
    elif word == "USER":
        stage.user = rest
    elif word == "EXPOSE":
        stage.ports.append(int(rest))
    elif word == "STOPSIGNAL":
        stage.stop = rest
    elif word == "HEALTHCHECK":
        stage.health = _exec_form(rest.partition("CMD ")[2])
    elif word == "CMD":
        stage.command = _exec_form(rest)
    else:
        raise AssertionError(f"{word} is not performed here")


def _build_env(stage: Stage) -> dict[str, str]:
    return {name: stage.placed(value) for name, value in stage.env.items() if name != "PATH"}


def _copy(stage: Stage, rest: str, context: Path, stages: dict[str, Stage]) -> None:
    words = [Template(word).substitute(stage.arguments) for word in shlex.split(rest)]
    source = context
    if words[0].startswith("--from="):
        other = stages[words.pop(0).removeprefix("--from=")]
        source = other.root
    *names, target = words
    for name in names:
        start, end = source / name.lstrip("/"), stage.path(target)
        if start.is_dir():
            shutil.copytree(start, end, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (end if target.endswith("/") else end.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy2(start, end)
    if source is not context:  # a virtual environment knows where it is
        _moved(stage, source)


def _moved(stage: Stage, before: Path) -> None:
    """Both stages call it /opt/tenantry; here they are two places, so the scripts' first lines are put right."""
    for script in stage.root.glob("opt/*/bin/*"):
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            script.write_bytes(text.replace(str(before).encode(), str(stage.root).encode()))


def _exec_form(text: str) -> list[str]:
    assert _FORM.match(text), "the exec form: a shell would not hand on the signal"
    words: list[str] = json.loads(text)
    return words


def _base(place: Path) -> Path:
    """``python`` and ``pip`` as the base image has them."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True, timeout=120)
    return place / "bin"
