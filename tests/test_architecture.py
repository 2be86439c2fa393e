"""The shape of the source: what may import what, what the core may touch, and that the way of a request stays one
screen. Design, sections 2 and 3."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import tenantry
import tenantry.gate

SOURCE = Path(tenantry.__file__).parent
ROOT = Path(__file__).parents[1]

# From the inside out; a module imports its own layer and those before it. A package stands for everything in it.
LAYERS: list[tuple[str, ...]] = [
    ("limits", "errors", "in_request"),
    ("model", "observations", "context"),
    ("core",),
    ("ports",),
    ("providers",),
    ("request", "flights", "calls", "quotas", "strangers", "verdicts", "replays", "possession", "refusing", "gate"),
    ("adapters",),
    ("parts", "outside", "custom_providers", "provider", "assemble", "logs", "settings", "static_keys", "policy_file"),
    ("middleware", "reload", "csrf", "validator", "postgres", "permissions", "tools", "__init__"),
    ("devidp", "testing"),
    ("doctor",),
    ("draining", "server", "cli", "demo", "__main__"),
]

# What may be imported from further out, lazily (inside a function) or for types only, and why.
ALLOWED: dict[tuple[str, str], str] = {
    ("assemble", "adapters.postgres.configured"): "the driver is imported only when a database is configured",
    ("adapters.postgres.configured", "settings"): "reads the database's settings, for assemble alone",
    ("adapters.audit.configured", "settings"): "reads the audit's settings, for assemble alone",
    ("adapters.host_auth", "assemble"): "an adapter of a host's own auth is an entrance, as the middleware is",
    ("adapters.host_auth", "settings"): "an adapter of a host's own auth is an entrance, as the middleware is",
    ("adapters.host_auth", "validator"): "an adapter of a host's own auth is an entrance, as the middleware is",
    ("adapters.fastmcp", "settings"): "for types only",
    ("adapters.fastmcp", "validator"): "for types only",
    ("validator", "assemble"): "from_settings is a convenience over the wiring, which costs an import",
    ("validator", "settings"): "from_settings is a convenience over the wiring, which costs an import",
}

OPTIONAL = (
    "pydantic",
    "pydantic_settings",
    "asyncpg",
    "mcp",
    "fastmcp",
    "starlette",
    "httpx",
    "httpx2",
    "uvicorn",
    "anyio",
    "prometheus_client",
    "redis",
    "opentelemetry",
)
FILES = sorted(SOURCE.rglob("*.py"))
CORE = sorted((SOURCE / "core").glob("*.py"))


def name_of(path: Path) -> str:
    """``core.keys``; a package is its ``__init__``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path): path for path in FILES}


def layer_of(name: str) -> int:
    first = name.partition(".")[0]
    return next(number for number, members in enumerate(LAYERS) if first in members)


def imports_of(path: Path) -> Iterator[str]:
    """The modules of ours that ``path`` imports anywhere in it, also lazily and for types."""
    package = ["tenantry", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            absolute = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in absolute:
            if name == "tenantry" or name.startswith("tenantry."):
                yield module_of(name)


def module_of(name: str) -> str:
    """The module that an imported name is, or is in: of ``tenantry.core.keys.KeySet`` it is ``core.keys``."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in NAMES:
        parts.pop()
    return ".".join(parts) or "__init__"


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_place_in_the_layers(name: str) -> None:
    assert name.partition(".")[0] in {member for members in LAYERS for member in members}


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name: str) -> None:
    outward = {
        imported
        for imported in imports_of(NAMES[name])
        if layer_of(imported) > layer_of(name) and (name, imported) not in ALLOWED
    }
    assert outward == set()


def test_every_exception_to_the_layers_is_still_needed() -> None:
    for name, imported in ALLOWED:
        if imported in NAMES and name in NAMES:
            assert imported in set(imports_of(NAMES[name])), f"{name} no longer imports {imported}"


def test_no_two_modules_import_each_other_on_the_way_in() -> None:
    graph = {
        name: set(imports_of(path)) - {name} for name, path in NAMES.items() if layer_of(name) <= layer_of("adapters")
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name in done:
            return
        for imported in graph.get(name, ()):
            visit(imported, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", [name for name in NAMES if layer_of(name) <= layer_of("verdicts")])
def test_what_decides_does_not_know_the_fakes_or_the_adapters(name: str) -> None:
    outside = ("testing", "devidp", "adapters", "settings")
    assert not [imported for imported in imports_of(NAMES[name]) if imported.partition(".")[0] in outside]


# --- The core is pure -------------------------------------------------------------------------------------------------

PURE_MODULES = {
    "__future__", "base64", "binascii", "collections", "dataclasses", "functools", "hashlib", "hmac", "itertools",
    "json", "re",
    "string",
    "typing", "urllib", "zlib", "cryptography", "idna", "jwt",
}  # fmt: skip
IMPURE_NAMES = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint", "globals"}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_nothing_that_reaches_outside(path: Path) -> None:
    """No os, time, datetime, random, secrets, uuid, socket, asyncio, logging ..."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
    assert {name.partition(".")[0] for name in found} <= PURE_MODULES
    assert not {name for name in found if name.startswith("urllib") and name != "urllib.parse"}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_does_nothing_but_compute(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Global))
        if isinstance(node, ast.Name):
            assert node.id not in IMPURE_NAMES, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("environ", "getenv", "urandom", "now", "utcnow", "monotonic"), node.lineno


_AUDITED = """
import sys
import base64, binascii, hashlib, json, re, zlib, idna, jwt, cryptography.hazmat.primitives.asymmetric.rsa
import cryptography.hazmat.primitives.asymmetric.ed448, cryptography.hazmat.primitives.asymmetric.ed25519
import tenantry.errors, tenantry.model
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.")) and event not in ("os.listdir", "os.scandir"):
        seen.append(event)
sys.addaudithook(hook)
import tenantry.core.matching, tenantry.core.claims, tenantry.core.tenancy, tenantry.core.policy
import tenantry.core.challenge, tenantry.core.metadata, tenantry.core.quota
print(seen)
"""


def test_importing_the_core_opens_no_socket_and_starts_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _AUDITED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# --- The tests themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 443), ("2001:db8::1", 443), ("example.com", 443), ("10.0.0.1", 5432)]
)
def test_no_test_leaves_this_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as door:
        for leave in (door.connect, door.connect_ex):
            with pytest.raises(BaseException, match="a test connected to"):
                leave(address)


# --- What an import costs ---------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_tenantry_imports_no_optional_or_heavy_package() -> None:
    loaded = loaded_by("import tenantry")
    assert {name for name in loaded if name.partition(".")[0] in OPTIONAL} == set()


def test_importing_the_gate_imports_no_database_web_framework_or_settings() -> None:
    loaded = loaded_by(
        "import tenantry.gate, tenantry.providers.google, tenantry.providers.auth0, tenantry.providers.github"
    )
    assert {name for name in loaded if name.partition(".")[0] in OPTIONAL} == set()


def test_every_public_name_can_be_had() -> None:
    for name in tenantry.__all__:
        assert getattr(tenantry, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        tenantry.no_such_name  # noqa: B018


# --- The way of a request ---------------------------------------------------------------------------------------------


def test_the_readme_shows_the_way_of_a_request_as_the_gate_tells_it() -> None:
    indented = [line for line in (tenantry.gate.__doc__ or "").splitlines() if line.startswith("    ")]
    assert len(indented) == 2
    diagram = textwrap.dedent("\n".join(indented))
    assert f"```\n{diagram}\n```" in (ROOT / "README.md").read_text()


def test_the_gate_stays_one_screen() -> None:
    assert len((SOURCE / "gate.py").read_text().splitlines()) < 130


def test_the_gate_takes_the_steps_in_the_order_of_its_diagram() -> None:
    text = (SOURCE / "gate.py").read_text()
    steps = ["match(", ".verify(", ".identify(", ".assign(", ".context("]
    places = [text.index(step, text.index("async def _judge")) for step in steps]
    assert places == sorted(places)
    judge = text[text.index("async def _judge") : text.index("async def _without_credential")]
    after = [
        judge.index(step)
        for step in (
            "admission(",
            "_accept",
            "possession.proved",
            "_directory.admit",
            "_quotas.spend",
            ".weigh(",
            "return Adm",
        )
    ]
    assert after == sorted(after)
