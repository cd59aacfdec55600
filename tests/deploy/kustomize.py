"""What of Kustomize the overlays use: resources, components, a namespace and JSON patches that replace a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
# These belong to no namespace.
_WITHOUT_NAMESPACE = ("Namespace",)


def build(folder: Path) -> list[Resource]:
    """The resources of an overlay, as `kubectl kustomize FOLDER` gives them but for their order.

    Raises:
        NotImplementedError: the overlay uses more than is known here.
    """
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text())
    known = {"apiVersion", "kind", "namespace", "resources", "components", "patches"}
    if unknown := rules.keys() - known:
        raise NotImplementedError(f"{folder}: {unknown}")
    found: list[Resource] = []
    for entry in [*rules.get("resources", ()), *rules.get("components", ())]:
        path = folder / entry
        found += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in rules.get("patches", ()):
        targets = [r for r in found if all(_value(r, key) == wanted for key, wanted in patch["target"].items())]
        if not targets:
            raise ValueError(f"{folder}: nothing is {patch['target']}")
        for resource in targets:
            for operation in yaml.safe_load(patch["patch"]):
                _replace(resource, operation)
    for resource in found:
        if "namespace" in rules and resource["kind"] not in _WITHOUT_NAMESPACE:
            resource["metadata"]["namespace"] = rules["namespace"]
    return found


def _value(resource: Resource, key: str) -> Any:
    return resource["kind"] if key == "kind" else resource["metadata"][key]


def _replace(resource: Any, operation: dict[str, Any]) -> None:
    if operation["op"] != "replace":
        raise NotImplementedError(operation["op"])
    *way, last = [int(part) if part.isdigit() else part for part in operation["path"].strip("/").split("/")]
    for part in way:
        resource = resource[part]
    resource[last] = operation["value"]
