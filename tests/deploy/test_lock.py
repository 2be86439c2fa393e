"""What the image installs: every file by its hash, from nowhere in particular, and what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "build.lock")
# What `make lock` puts in beside the dependencies themselves.
EXTRAS = ("httpx2", "metrics", "redis", "mcp")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """By name: the pinned requirement and how many hashes it has."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "deploy" / name).read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = [
        (Requirement(line.split(" --hash")[0]), len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)))
        for line in lines
    ]
    return {canonicalize_name(pin.name): (pin, hashes) for pin, hashes in pins}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    for pin, hashes in locked(name).values():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert hashes >= 1, pin


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_and_no_address_is_named(name: str) -> None:
    assert not re.search(r"://|--(index|extra-index|find-links)|@ ", (ROOT / "deploy" / name).read_text())


def test_the_lock_satisfies_the_dependencies_and_the_extras_of_a_server() -> None:
    pins = locked("requirements.lock")
    optional = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(line for extra in EXTRAS for line in optional[extra])]
    for requirement in map(Requirement, asked):
        pin, _ = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(str(pin.specifier).removeprefix("=="), prereleases=True), requirement


def test_the_other_lock_satisfies_what_builds_the_wheel() -> None:
    pins = locked("build.lock")
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        pin, _ = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(str(pin.specifier).removeprefix("=="))


def test_make_lock_makes_it_with_these_extras() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^lock:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert re.findall(r"--extra (\w+)", recipe) == list(EXTRAS)
    for option in ("--universal", "--generate-hashes", "--no-emit-index-url"):
        assert option in makefile
