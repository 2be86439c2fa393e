"""The documents say what the code does: settings, reasons, links and the README's code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tenantry.errors import REASONS
from tenantry.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def test_every_setting_stands_in_the_settings_page_and_no_other() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name for cell in rows for name in re.findall(r"`([A-Z0-9_]+)`", cell)}
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_reason_stands_in_the_errors_page_with_its_description() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|$", page, re.MULTILINE))
    assert rows == {reason: words.description for reason, words in REASONS.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_or_source_that_a_document_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:tests|src|bench|examples)/[\w/.]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_a_document_names_is_a_setting(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]", page.read_text()))
    assert named - known == set()


def test_the_readme_s_server_can_be_mounted_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_HTTP_API_KEY", "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert callable(names["app"])


def test_the_example_of_the_testing_page_runs_as_it_stands() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
