"""The resources for Kubernetes: valid by its own schemas and the Dask operator's, and in step with each other."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker
from typer.main import get_command

from service.cli.app import app
from tests.deploy.kustomize import Resource, build
from worker.data import fetch_dataset

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
DEFINITIONS = Path(__file__).parent / "definitions"
OVERLAYS = ("plain", "dask-operator")
# Applied once beside one of these.
JOBS = ("token", "data", "restore")
VERSION = "1.33"
GPU = "nvidia.com/gpu"
# Made by hand, as deploy/README.md says.
SECRETS = {
    "greenshift-database": {"url", "password"},
    **{
        f"greenshift-tls-{role}": {"ca.pem", f"{role}.pem", f"{role}.key"} for role in ("scheduler", "worker", "client")
    },
}


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return build(KUBERNETES / "overlays" / request.param)


def problem(resource: Resource) -> str | None:
    """What is wrong with a resource; None is nothing."""
    try:
        if resource["apiVersion"].startswith("kubernetes.dask.org/"):
            jsonschema.validate(resource, definition(resource["kind"]))
            for part in parts_of(resource):
                kubernetes_validate.validate(part, VERSION, strict=True)
        else:
            kubernetes_validate.validate(resource, VERSION, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return str(error.message)
    return None


def parts_of(resource: Resource) -> Iterator[Resource]:
    """What of a resource of the Dask operator is Kubernetes' own: specs of pods and of a service."""
    if resource["kind"] != "DaskCluster":
        return
    metadata = {"name": "part"}
    for role in ("scheduler", "worker"):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": resource["spec"][role]["spec"]}
    service = resource["spec"]["scheduler"]["service"]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}


def definition(kind: str) -> dict[str, Any]:
    """The schema of a resource of the Dask operator; specs of pods and services are looked at elsewhere."""
    if kind == "DaskAutoscaler":
        document = yaml.safe_load((DEFINITIONS / "daskautoscaler.yaml").read_text())
        schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    else:
        schema = {"$ref": f"templates.yaml#/definitions/dask.k8s.api.v1.{kind}"}
    resolved = strict(schema)
    resolved["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    return resolved


def strict(schema: Any) -> Any:
    """The same with its references followed and no property beyond those named, which Kubernetes would drop unsaid."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        file, _, name = schema["$ref"].partition("#/definitions/")
        definitions = yaml.safe_load((DEFINITIONS / "templates.yaml").read_text())["definitions"]
        return strict(definitions[name]) if file.endswith("templates.yaml") else {"type": "object"}
    found = {key: strict(value) for key, value in schema.items()}
    return {"additionalProperties": False} | found if "properties" in found else found


def test_every_resource_is_valid(resources: list[Resource]) -> None:
    assert {r["metadata"]["name"]: problem(r) for r in resources if problem(r) is not None} == {}


@pytest.mark.parametrize("overlay", JOBS)
def test_what_is_done_once_is_valid_and_fits_the_rest(overlay: str) -> None:
    found, rest = build(KUBERNETES / "overlays" / overlay), build(KUBERNETES / "overlays" / "plain")
    assert {r["metadata"]["name"]: problem(r) for r in found if problem(r) is not None} == {}
    assert {r["metadata"]["namespace"] for r in found} == {"greenshift"}
    test_what_pods_mount_and_read_is_there([*rest, *found])
    test_every_pod_keeps_to_the_restricted_standard(found)
    test_every_selector_finds_pods([*rest, *found])


def test_the_first_token_is_one_that_the_program_makes() -> None:
    _, spec = pods(build(KUBERNETES / "overlays" / "token"))["token"]
    (container,) = spec["containers"]
    assert container["args"] == ["token", "create", "first"]


def test_the_data_set_is_fetched_by_what_is_there_and_lies_where_workers_look() -> None:
    _, spec = pods(build(KUBERNETES / "overlays" / "data"))["data"]
    (container,) = spec["containers"]
    (code,) = container["args"]
    compile(code, "data", "exec")
    assert "from worker.data import fetch_dataset" in code and callable(fetch_dataset)
    _, worker = pods(build(KUBERNETES / "overlays" / "plain"))["worker"]
    (folder,) = (e["value"] for e in worker["containers"][0]["env"] if e["name"] == "GREENSHIFT_DATA_DIR")
    assert f"'{folder}'" in code
    assert {"name": "data", "mountPath": folder} in container["volumeMounts"]


def test_a_registry_named_in_one_place_reaches_every_pod(tmp_path: Path) -> None:
    copied = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    component = copied / "components" / "images" / "kustomization.yaml"
    component.write_text(re.sub(r"newName: ", "newName: registry.example/", component.read_text()))
    for overlay in (*OVERLAYS, *JOBS):
        for name, (_, spec) in pods(build(copied / "overlays" / overlay)).items():
            assert all(c["image"].startswith("registry.example/") for c in spec["containers"]), name


def in_plain(kind: str, name: str) -> Resource:
    found = build(KUBERNETES / "overlays" / "plain") + build(KUBERNETES / "overlays" / "dask-operator")
    return next(r for r in found if (r["kind"], r["metadata"]["name"]) == (kind, name))


def fault(change: Callable[[Any], object], kind: str, name: str = "greenshift") -> Resource:
    resource = copy.deepcopy(in_plain(kind, name))
    change(resource["spec"])
    return resource


@pytest.mark.parametrize(
    "faulty",
    [
        fault(lambda s: s.update(replica=2), "Deployment", "worker"),
        fault(lambda s: s["template"]["spec"]["containers"][0].pop("name"), "Deployment", "worker"),
        fault(lambda s: s["template"]["spec"].update(nodeSelector=["gpu"]), "Deployment", "worker"),
        fault(lambda s: s["ports"][0].update(port="http"), "Service", "coordinator"),
        fault(lambda s: s.update(policyTypes="Ingress"), "NetworkPolicy", "worker"),
        fault(lambda s: s.pop("worker"), "DaskCluster"),
        fault(lambda s: s["worker"].update(replicas="two"), "DaskCluster"),
        fault(lambda s: s["worker"].update(resources={}), "DaskCluster"),
        fault(lambda s: s["worker"]["spec"]["containers"][0].update(volumeMount=[]), "DaskCluster"),
        fault(lambda s: s.pop("maximum"), "DaskAutoscaler"),
        fault(lambda s: s.update(minimum="0"), "DaskAutoscaler"),
    ],
    ids=lambda resource: resource["kind"],
)
def test_a_planted_fault_is_found(faulty: Resource) -> None:
    assert problem(faulty)


@pytest.mark.parametrize("overlay", [*OVERLAYS, *JOBS])
def test_kustomize_itself_gives_the_same(overlay: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NO KUBECTL: whether kustomize itself gives the same is NOT TESTED")
    folder = KUBERNETES / "overlays" / overlay
    said = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout
    theirs, ours = list(yaml.safe_load_all(said)), build(folder)
    assert sorted(theirs, key=name_of) == sorted(ours, key=name_of)


def name_of(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def pods(resources: list[Resource]) -> dict[str, tuple[dict[str, str], Any]]:
    """Labels and specs of all pods, by what makes them."""
    found = {}
    for resource in resources:
        if resource["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob"):
            template = resource["spec"].get("jobTemplate", resource)["spec"]["template"]
            found[resource["metadata"]["name"]] = (template["metadata"]["labels"], template["spec"])
        if resource["kind"] == "DaskCluster":
            for role in ("scheduler", "worker"):
                part = resource["spec"][role]
                found[role] = (part["metadata"]["labels"], part["spec"])
    return found


def test_what_pods_mount_and_read_is_there(resources: list[Resource]) -> None:
    names = {name_of(r) for r in resources}
    for name, (_, spec) in pods(resources).items():
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        claimed = {"database"} if name == "postgresql" else set()
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys() | claimed
            for entry in container.get("env", ()):
                if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in SECRETS[reference["name"]]
        for volume in volumes.values():
            if "secret" in volume:
                assert volume["secret"]["secretName"] in SECRETS
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names


def test_every_pod_keeps_to_the_restricted_standard(resources: list[Resource]) -> None:
    for name, (_, spec) in pods(resources).items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "memory" in container["resources"]["limits"], name
            assert not container["image"].endswith("latest") and ":" in container["image"]


def test_a_worker_is_one_gpu_on_a_node_that_has_some(resources: list[Resource]) -> None:
    _, spec = pods(resources)["worker"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"][GPU] == container["resources"]["requests"][GPU] == "1"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert any(t["key"] == GPU for t in spec["tolerations"])


def test_a_worker_is_ready_when_its_image_says_that_it_is_well() -> None:
    _, spec = pods(build(KUBERNETES / "overlays" / "plain"))["worker"]
    (container,) = spec["containers"]
    healthcheck = (KUBERNETES.parent / "Dockerfile").read_text().rpartition("HEALTHCHECK")[2]
    assert f"CMD {json.dumps(container['readinessProbe']['exec']['command'])}" in healthcheck
    assert "livenessProbe" not in container


def test_what_lies_on_a_volume_is_not_given_away_anew_at_each_start(resources: list[Resource]) -> None:
    owners = {name: spec["securityContext"] for name, (_, spec) in pods(resources).items()}
    assert {name for name, owner in owners.items() if "fsGroup" in owner} >= {"coordinator", "worker", "postgresql"}
    for name, owner in owners.items():
        if {"persistentVolumeClaim"} & {kind for v in pods(resources)[name][1]["volumes"] for kind in v}:
            assert owner["fsGroupChangePolicy"] == "OnRootMismatch", name


def test_every_selector_finds_pods(resources: list[Resource]) -> None:
    labels = [labels for labels, _ in pods(resources).values()]
    for resource in resources:
        spec = resource.get("spec", {})
        if resource["kind"] == "Service":
            wanted = spec["selector"]
        elif resource["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            wanted = spec["selector"]["matchLabels"]
        elif resource["kind"] == "NetworkPolicy":
            wanted = spec["podSelector"].get("matchLabels", {})
        else:
            continue
        assert any(wanted.items() <= each.items() for each in labels), name_of(resource)


def test_everything_that_talks_is_let_through_and_nothing_else(resources: list[Resource]) -> None:
    policies = {r["metadata"]["name"]: r["spec"] for r in resources if r["kind"] == "NetworkPolicy"}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (rule,) = policies["postgresql"]["ingress"]
    callers = [f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in rule["from"]]
    assert callers == ["coordinator", "backup"]
    (rule,) = policies["scheduler"]["ingress"]
    callers = {f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in rule["from"]}
    assert callers == {"coordinator", "worker"}


def test_every_command_is_one_that_its_program_understands(resources: list[Resource]) -> None:
    for name, (_, spec) in pods(resources).items():
        if name in ("postgresql", "backup"):
            continue
        (container,) = spec["containers"]
        words = [*container.get("command", ["greenshift"]), *container["args"]]
        understood(words)
        services = {r["metadata"]["name"] for r in resources if r["kind"] == "Service"}
        services |= {f"{r['metadata']['name']}-scheduler" for r in resources if r["kind"] == "DaskCluster"}
        for word in words:
            if "tls://" in word:
                assert word.partition("tls://")[2].partition(":")[0] in services


def understood(words: list[str]) -> None:
    """Parses a command line, which fails where there is no such option."""
    program, command, *arguments = words
    if program == "dask":
        parser = {"scheduler": dask_scheduler, "worker": dask_worker}[command]
        # Files that are not here would be refused.
        line = re.sub(r"(--tls-[a-z-]+)[= ]\S+", "", shlex.join(arguments))
        parser.make_context(f"{program} {command}", shlex.split(line))
        return
    get_command(app).commands[command].make_context(command, arguments)  # type: ignore[attr-defined]
