"""Print the version and end."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    print(f"tenantry {number()}")
    return 0


def number() -> str:
    """The version of the package."""
    from .. import __version__

    return __version__
