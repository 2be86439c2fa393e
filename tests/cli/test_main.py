"""The command itself: its help, its version, and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tenantry


def without_packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where nothing but the standard library is installed, and the package alone can be found."""
    with tempfile.TemporaryDirectory() as alone:
        (Path(alone) / "tenantry").symlink_to(Path(tenantry.__file__).parent)
        return subprocess.run(
            [sys.executable, "-S", "-m", "tenantry", *arguments],
            env={**os.environ, "PYTHONPATH": alone},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["serve", "--help"], ["version", "--help"]])
def test_help_imports_no_package(arguments: list[str]) -> None:
    done = without_packages(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: tenantry")


def test_help_says_what_the_exit_codes_mean() -> None:
    assert "Exit codes: 0 in order" in " ".join(without_packages("--help").stdout.split())


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_one_line(arguments: list[str]) -> None:
    assert without_packages(*arguments).stdout == f"tenantry {tenantry.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve"], ["demo", "--port", "many"], ["demo", "--twice"]])
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    done = without_packages(*arguments)
    assert done.returncode == 2
    assert "usage: tenantry" in done.stderr


def test_the_demo_without_its_packages_names_the_extra() -> None:
    done = without_packages("demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tenantry: The demo needs the packages of its extra: pip install 'tenantry[demo]'.\n"
