"""``python -m tests.attacks.isolation``: run the isolation suite, print what it proves, and write that into
docs/reliability.md. Exits with 1, and writes nothing, when a test fails."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.faults.page import PAGE, block
from tests.faults.subjects import SUBJECTS

SUITE = Path(__file__).with_name("test_isolation_between_providers.py")


class Section(NamedTuple):
    """A sentence that is proven, and the tests that do."""

    sentence: str
    tests: tuple[str, ...]


def sections() -> Iterator[Section]:
    for part in re.split(r"^# --- ", SUITE.read_text(), flags=re.MULTILINE)[1:]:
        sentence = re.sub(r" -+$", "", part.splitlines()[0])
        yield Section(sentence, tuple(re.findall(r"^async def (test_\w+)", part, re.MULTILINE)))


def table() -> str:
    """A row for each sentence, and whose credentials it was shown with."""
    rows = [f"| {section.sentence} | {'<br>'.join(map(_words, section.tests))} |" for section in sections()]
    kinds = ", ".join(subject.name for subject in SUBJECTS)
    return "\n".join(["| what holds | shown by |", "|---|---|", *rows, "", f"All of them at once: {kinds}."])


def _words(test: str) -> str:
    return test.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")


def main() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(SUITE)], stdout=subprocess.PIPE, text=True, check=False
    )
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    if done.returncode or passed is None:
        print(done.stdout)
        return 1
    print(table())
    page = PAGE.read_text()
    today = datetime.now(UTC).date()
    made = {"isolation": table(), "isolation date": f"Run on {today:%-d %B %Y}: {passed[1]} cases."}
    for name, text in made.items():
        mark = f"<!-- {name} -->\n"
        page = page.replace(f"{mark}{block(page, name)}\n", f"{mark}{text}\n")
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
