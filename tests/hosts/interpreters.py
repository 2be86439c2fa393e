"""MCP 1.x has a virtual environment of its own, because it cannot be installed beside 2.x."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv" / "hosts" / "mcp1"
MCP1 = "mcp>=1.30,<2"
MISSING = os.environ.get("TENANTRY_TEST_MISSING") or ("fail" if os.environ.get("CI") else "skip")


@pytest.fixture(scope="session")
def mcp1_python() -> Path:
    """The interpreter of an environment with MCP 1.x and this project, made anew when what it needs has changed."""
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "made-from"
    wanted = hashlib.sha256(f"{MCP1} {ROOT} {sys.version} {(ROOT / 'pyproject.toml').read_text()}".encode()).hexdigest()
    if not mark.exists() or mark.read_text() != wanted:
        install = [python, "-m", "pip", "install", "--quiet", "--editable", ROOT, MCP1]
        for command in ([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], install):
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode and MISSING == "fail":
                pytest.fail(f"no environment with {MCP1}: {done.stderr[-2000:]}", pytrace=False)
            elif done.returncode:
                pytest.skip(f"no environment with {MCP1} could be made here (is there a network?)")
        mark.write_text(wanted)
    return python
