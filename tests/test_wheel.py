"""The wheel is what people install: the same bytes from the same sources, and everything that the code reads in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "tenantry"
DOCS = ROOT / "docs"
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src", "docs")  # `tenantry help` prints the documents


def build(folder: Path, *, umask: int, touched: float) -> Path:
    """The wheel of a copy of the sources, made by another account's habits at another time."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    for path in tree.rglob("*"):
        os.utime(path, (touched, touched))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")],
        cwd=tree,
        check=True,
        capture_output=True,
        umask=umask,
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return build(folder / "a", umask=0o022, touched=1.6e9), build(folder / "b", umask=0o077, touched=1.7e9)


def test_the_same_sources_make_the_same_bytes(wheels: tuple[Path, Path]) -> None:
    one, other = wheels
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_every_file_of_the_package_is_in_the_wheel_and_no_other(wheels: tuple[Path, Path]) -> None:
    packed = {name for name in zipfile.ZipFile(wheels[0]).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(SOURCES.parent).as_posix()
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    pages = {f"tenantry/docs/{page.relative_to(DOCS).as_posix()}" for page in DOCS.rglob("*") if page.is_file()}
    assert packed == expected | pages


def test_it_says_that_it_is_typed_and_under_which_licence(wheels: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(wheels[0])
    names = wheel.namelist()
    assert "tenantry/py.typed" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT" in wheel.read(metadata).decode()
