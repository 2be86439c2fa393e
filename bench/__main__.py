"""``python -m bench [--only NAME] [--profile] [--json] [--large]``: one table of ratios."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from types import ModuleType

from . import (
    audit,
    client,
    http,
    issuers,
    memory,
    policy,
    quotas,
    rotation,
    stampede,
    startup,
    tenants,
    tools_call,
    unseen,
    warm,
    whole,
)
from .measure import Row

BENCHES: dict[str, ModuleType] = {
    "http": http,
    "warm": warm,
    "whole": whole,
    "tools_call": tools_call,
    "unseen": unseen,
    "issuers": issuers,
    "stampede": stampede,
    "rotation": rotation,
    "memory": memory,
    "tenants": tenants,
    "quotas": quotas,
    "policy": policy,
    "client": client,
    "audit": audit,
    "startup": startup,
}


def main() -> int:
    """0 when every target is kept, 1 when one is short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios against baselines of the same run.")
    parser.add_argument("--only", choices=BENCHES, action="append", help="run this one (may be repeated)")
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    parser.add_argument("--large", action="store_true", help="memory: also 1,000,000 entries; tenants: also 10,000")
    parser.add_argument("--json", action="store_true", help="the rows as JSON, for comparing runs")
    asked = parser.parse_args()
    rows: list[tuple[str, Row]] = []
    for name in asked.only or BENCHES:
        began = time.monotonic()
        options = {"large": True} if asked.large and name in ("memory", "tenants") else {}
        rows += [(name, row) for row in BENCHES[name].run(profile=asked.profile and not asked.json, **options)]
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.json:
        print(json.dumps([{"bench": name, **asdict(row), "verdict": row.verdict} for name, row in rows], indent=1))
    else:
        _print([row for _, row in rows])
    return int(any(row.verdict == "SHORT" for _, row in rows))


def _print(rows: list[Row]) -> None:
    width = max(len(row.what) for row in rows)
    print(f"\n{'what':<{width}}  {'measured':>15}  {'target':>10}  {'':5}  against")
    for row in rows:
        measured = f"{row.value:,.2f} {row.unit}" if row.unit in ("x", "s") else f"{row.value:,.1f} {row.unit}"
        target = "" if row.target is None else f"{row.relation} {row.target:g}"
        print(f"{row.what:<{width}}  {measured:>15}  {target:>10}  {row.verdict:5}  {row.against}")


if __name__ == "__main__":
    sys.exit(main())
