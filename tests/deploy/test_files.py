"""Each file for a platform, against what the platform documents: an engine or an account is not at hand here.

Railway's and Render's schemas are not to be had offline and SchemaStore's of fly.toml is stale, so the fields that are
used stand here, as documented (docs.railway.com/config-as-code/reference, render.com/docs/blueprint-spec,
fly.io/docs/reference/configuration).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.deploy.dockerfile import instructions
from tests.deploy.platforms import KUBERNETES, PLATFORMS, Platform, kustomized

from tenantry.settings import Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TEXT, COUNT, FLAG = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
SECONDS = {"type": "string", "pattern": r"^\d+(ms|s|m)$"}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}


def closed(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


RAILWAY = closed(
    "build deploy",
    **{"$schema": {"const": "https://railway.com/railway.schema.json"}},
    build=closed(
        "builder dockerfilePath",
        builder={"enum": ["RAILPACK", "DOCKERFILE"]},
        dockerfilePath=TEXT,
        watchPatterns=TEXTS,
        buildCommand=TEXT,
    ),
    deploy=closed(
        "preDeployCommand healthcheckPath drainingSeconds",
        preDeployCommand={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1},
        startCommand=TEXT,
        healthcheckPath=TEXT,
        healthcheckTimeout=COUNT,
        overlapSeconds=COUNT,  # numbers: text is documented, and refused when a deployment begins
        drainingSeconds=COUNT,
        restartPolicyType={"enum": ["ON_FAILURE", "ALWAYS", "NEVER"]},
        restartPolicyMaxRetries=COUNT,
        numReplicas=COUNT,
    ),
)
FLY = closed(
    "app kill_signal kill_timeout build deploy env http_service",
    app=TEXT,
    primary_region={"type": "string", "pattern": "^[a-z]{3}$"},
    kill_signal={"enum": ["SIGINT", "SIGTERM", "SIGQUIT"]},
    kill_timeout={"type": "integer", "minimum": 6, "maximum": 300},
    build=closed("dockerfile", dockerfile=TEXT),
    deploy=closed(
        "release_command",
        release_command=TEXT,
        release_command_timeout=SECONDS,
        strategy={"enum": ["canary", "rolling", "bluegreen", "immediate"]},
    ),
    processes=closed("app", app=TEXT),
    env={"type": "object", "additionalProperties": {"type": "string"}},
    http_service=closed(
        "internal_port force_https checks",
        processes=TEXTS,
        internal_port=COUNT,
        force_https={"const": True},
        auto_stop_machines={"enum": ["off", "stop", "suspend"]},  # text, not true and false
        auto_start_machines=FLAG,
        min_machines_running=COUNT,
        concurrency=closed("type", type={"enum": ["requests", "connections"]}, soft_limit=COUNT, hard_limit=COUNT),
        checks={
            "type": "array",
            "minItems": 1,
            "items": closed(
                "path method",
                grace_period=SECONDS,
                interval=SECONDS,
                timeout=SECONDS,
                method={"const": "GET"},
                path=TEXT,
            ),
        },
    ),
    vm={"type": "array", "items": closed("size", size=TEXT, memory=TEXT)},
)
VARIABLE = {
    "oneOf": [
        closed("key value", key=TEXT, value=TEXT),
        closed("key sync", key=TEXT, sync={"const": False}),
        closed("key generateValue", key=TEXT, generateValue={"const": True}),
        closed("key fromDatabase", key=TEXT, fromDatabase=closed("name property", name=TEXT, property=TEXT)),
    ]
}
RENDER = closed(
    "services databases",
    services={
        "type": "array",
        "items": closed(
            "type name runtime dockerfilePath healthCheckPath preDeployCommand envVars",
            type={"enum": ["web", "pserv", "worker"]},
            name=TEXT,
            runtime={"const": "docker"},
            plan={"enum": ["starter", "standard", "pro"]},  # "free" has no pre-deploy command
            region={"enum": ["frankfurt", "oregon", "ohio", "virginia", "singapore"]},
            dockerfilePath=TEXT,
            dockerContext=TEXT,
            dockerCommand=TEXT,
            preDeployCommand=TEXT,
            healthCheckPath=TEXT,
            maxShutdownDelaySeconds={"type": "integer", "minimum": 1, "maximum": 300},
            numInstances=COUNT,
            envVars={"type": "array", "items": VARIABLE},
        ),
    },
    databases={
        "type": "array",
        "items": closed(
            "name ipAllowList",
            name=TEXT,
            plan=TEXT,
            region=TEXT,
            postgresMajorVersion={"type": "string", "pattern": r"^\d+$"},
            ipAllowList={"type": "array", "maxItems": 0},
        ),
    },
)


def said(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_railway_json_holds_documented_fields() -> None:
    jsonschema.validate(json.loads((ROOT / "railway.json").read_text()), RAILWAY)


def test_fly_toml_holds_documented_fields() -> None:
    jsonschema.validate(tomllib.loads((ROOT / "fly.toml").read_text()), FLY)


def test_render_yaml_holds_documented_fields_and_its_own_database() -> None:
    blueprint = yaml.safe_load((ROOT / "deploy/render.yaml").read_text())
    jsonschema.validate(blueprint, RENDER)
    asked = [entry["fromDatabase"]["name"] for entry in blueprint["services"][0]["envVars"] if "fromDatabase" in entry]
    assert asked == [database["name"] for database in blueprint["databases"]]


def test_docker_compose_yml_is_one() -> None:
    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml")


def test_the_composed_app_may_do_nothing_but_serve() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert "version" not in composed
    services = composed["services"]
    for name in ("app", "migrate"):
        service = services[name]
        assert service["read_only"] is service["init"] is True
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"
        assert set(service["secrets"]) <= set(composed["secrets"])
    assert services["app"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert all(port.startswith("127.0.0.1:") for port in services["app"]["ports"])
    assert services["redis"]["profiles"] == ["redis"]
    assert "database:/var/lib/postgresql" in services["postgres"]["volumes"]
    assert [name for name in services if "ports" in services[name]] == ["app"]
    assert composed["networks"]["data"] == {"internal": True}
    gateway = composed["networks"]["front"]["ipam"]["config"][0]["gateway"]
    assert services["app"]["environment"]["MCP_HTTP_TRUSTED_PROXIES"] == gateway


def test_the_dockerfile_is_clean() -> None:
    said(BIN / "hadolint", "--failure-threshold", "style", ROOT / "deploy/Dockerfile")


def test_the_build_sees_what_it_copies_and_no_secrets() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "nothing is let in but by name"
    let_in = [line[1:] for line in lines if line.startswith("!")]
    copied = [
        rest.split()[:-1] for word, rest in instructions((ROOT / "deploy/Dockerfile").read_text()) if word == "COPY"
    ]
    named = [name.rstrip("/") for names in copied for name in names if not names[0].startswith("--from")]
    assert sorted({next((one for one in let_in if fnmatch(name, one)), name) for name in named} - {"${APP}"}) == sorted(
        set(let_in) - {"examples"}
    ), "what is copied is let in, and no more"


@pytest.mark.parametrize("script", sorted((ROOT / ".ci").iterdir()) + sorted(ROOT.glob("deploy/**/*.sh")), ids=str)
def test_every_script_is_clean(script: Path) -> None:
    if not script.read_text().startswith("#!") or "python" in script.read_text().splitlines()[0]:
        pytest.skip("not a shell script")
    said(BIN / "shellcheck", script)


@pytest.mark.parametrize("make", PLATFORMS, ids=lambda make: make.__name__)
def test_every_platform_migrates_first_and_gives_time_to_end(make: Any) -> None:
    platform: Platform = make()
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    (grace,) = re.findall(r"MCP_HTTP_SHUTDOWN_GRACE=(\d+)", dockerfile)
    assert platform.release == ["tenantry", "migrate"]
    assert json.dumps(platform.serve) in dockerfile
    assert platform.grace > float(grace)
    assert platform.env["MCP_HTTP_TRUSTED_PROXIES"]
    known = {f"MCP_HTTP_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in platform.env if name.startswith("MCP_HTTP_")} <= known


# Kubernetes


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    return kustomized(tmp_path_factory.mktemp("kustomize"), kubectl)


def test_the_manifests_are_of_kubernetes_schemas(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(manifests))
    said(BIN / "kubernetes-validate", "--strict", tmp_path / "all.yaml")


def test_what_selects_pods_selects_them(manifests: list[dict[str, Any]]) -> None:
    of = {manifest["kind"]: manifest for manifest in manifests}
    labels = of["Deployment"]["spec"]["template"]["metadata"]["labels"]
    job = of["Job"]["spec"]["template"]["metadata"]["labels"]
    for chosen in (
        of["Deployment"]["spec"]["selector"]["matchLabels"],
        of["Service"]["spec"]["selector"],
        of["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert chosen.items() <= labels.items()
        assert not chosen.items() <= job.items(), "the job is no server"
    policy = of["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items()
    assert policy.items() <= job.items()


def test_pods_are_let_in_where_the_restricted_standard_is_enforced(manifests: list[dict[str, Any]]) -> None:
    (namespace,) = (one for one in manifests if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for manifest in manifests:
        if manifest["kind"] not in ("Deployment", "Job"):
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
            assert context["capabilities"] == {"drop": ["ALL"]}
        (volume,) = (one["secret"] for one in pod["volumes"] if "secret" in one)
        assert volume["defaultMode"] == 0o440


def test_a_changed_setting_or_secret_is_a_new_name(manifests: list[dict[str, Any]]) -> None:
    names = {one["kind"]: one["metadata"]["name"] for one in manifests if one["kind"] in ("ConfigMap", "Secret")}
    (deployment,) = (one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment")
    assert deployment["containers"][0]["envFrom"][0]["configMapRef"]["name"] == names["ConfigMap"]
    assert re.fullmatch(r"tenantry-secrets-[a-z0-9]{10}", names["Secret"])
    assert json.dumps(deployment).count(names["Secret"]) == 1


def test_no_secret_is_in_the_repository() -> None:
    assert not (KUBERNETES / "secrets").exists() or os.environ.get("CI") is None
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
