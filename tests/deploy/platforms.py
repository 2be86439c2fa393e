"""What each platform does with our files: read out of them, not repeated here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
CLIENT = "203.0.113.9"  # RFC 5737
PUBLIC = "https://mcp.example.com/mcp"


@dataclass(frozen=True)
class Platform:
    """``release`` and ``serve``: its commands. ``env``: what its file sets. ``ready``: where it looks, and with which
    Host. ``sends``: what its proxy adds to a request of ``CLIENT``'s. ``grace``: seconds between SIGTERM and SIGKILL.
    ``files``: whether secrets come as files."""

    name: str
    release: list[str]
    serve: list[str]
    env: dict[str, str]
    ready: str
    host: str
    sends: dict[str, str]
    grace: float
    files: bool = False


def fly() -> Platform:
    said = tomllib.loads((ROOT / "fly.toml").read_text())
    assert said["kill_signal"] == "SIGTERM"
    (check,) = said["http_service"]["checks"]
    sends = {"Fly-Client-IP": CLIENT, "X-Forwarded-For": f"{CLIENT}, 66.241.125.7", "Via": "1.1 fly.io"}
    release, serve = said["deploy"]["release_command"], said["processes"]["app"]
    return _of("fly", release, serve, said["env"], check["path"], "172.19.0.2:8000", sends, said["kill_timeout"])


def railway() -> Platform:
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]
    (release,) = deploy["preDeployCommand"]
    page = (ROOT / "docs/deploy/railway.md").read_text()
    env = dict(re.findall(r'^ *--set "(MCP_HTTP_[A-Z_]+)=([^"$]+)"', page, re.MULTILINE))
    sends = {
        "X-Real-IP": CLIENT,
        "X-Forwarded-For": f"{CLIENT}, 152.233.22.1",
        "X-Railway-Edge": "railway/europe-west4",
    }
    host, grace = "healthcheck.railway.app", deploy["drainingSeconds"]
    return _of("railway", release, deploy["startCommand"], env, deploy["healthcheckPath"], host, sends, grace)


def render() -> Platform:
    (service,) = yaml.safe_load((ROOT / "deploy/render.yaml").read_text())["services"]
    env = {entry["key"]: entry["value"] for entry in service["envVars"] if "value" in entry}
    env |= {entry["key"]: "g" * 44 for entry in service["envVars"] if entry.get("generateValue")}
    sends = {"CF-Connecting-IP": CLIENT, "X-Forwarded-For": f"{CLIENT}, 104.22.17.40", "Rndr-Id": "6ef8a3a1-6a4c-4f1b"}
    commands = service["preDeployCommand"], service["dockerCommand"]
    return _of(
        "render", *commands, env, service["healthCheckPath"], "10.21.157.68:10000", sends,
        service["maxShutdownDelaySeconds"],
    )  # fmt: skip


def compose() -> Platform:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    app, migrate = services["app"], services["migrate"]
    env = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in app["environment"].items()}
    sends = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}
    grace = float(app["stop_grace_period"].removesuffix("s"))
    return Platform("compose", migrate["command"], app["command"], env, "/livez", "127.0.0.1", sends, grace, True)


def kubernetes() -> Platform:
    pods = {name: _pod(name) for name in ("deployment", "migrate")}
    (server,), (migrate,) = (pod["containers"] for pod in pods.values())
    env = dict(line.split("=", 1) for line in (KUBERNETES / "settings.env").read_text().splitlines())
    sends = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example.com"}
    ready, grace = server["readinessProbe"]["httpGet"]["path"], pods["deployment"]["terminationGracePeriodSeconds"]
    grace -= float(server["lifecycle"]["preStop"]["exec"]["command"][1])
    return Platform("kubernetes", migrate["args"], server["args"], env, ready, "10.1.2.3:8000", sends, grace, True)


PLATFORMS: list[Callable[[], Platform]] = [fly, railway, render, compose, kubernetes]


def kustomized(folder: Path, kubectl: str) -> list[dict[str, Any]]:
    """The manifests that ``kubectl kustomize`` makes of a copy in ``folder`` with secrets in it."""
    copy = folder / "kubernetes"
    shutil.copytree(KUBERNETES, copy, ignore=shutil.ignore_patterns("secrets"))
    (copy / "secrets").mkdir()
    (generator,) = yaml.safe_load((copy / "kustomization.yaml").read_text())["secretGenerator"]
    for name in generator["files"]:
        (copy / name).write_text("not a secret\n")
    done = subprocess.run([kubectl, "kustomize", copy], capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


def _pod(name: str) -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())["spec"]["template"]["spec"]


def _of(
    name: str,
    release: str,
    serve: str,
    env: dict[str, str],
    ready: str,
    host: str,
    sends: dict[str, str],
    grace: float,
) -> Platform:
    """One that runs commands as lines, sets PORT, and says with which scheme a client came."""
    sends = {**sends, "X-Forwarded-Proto": "https"}
    return Platform(name, shlex.split(release), shlex.split(serve), env, ready, host, sends, grace)
