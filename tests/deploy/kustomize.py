"""What of Kustomize the overlays use: resources, components, a namespace, images and patches that replace a value."""

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
    rules = _rules(folder)
    known = {"apiVersion", "kind", "namespace", "resources", "components", "images", "patches"}
    if unknown := rules.keys() - known:
        raise NotImplementedError(f"{folder}: {unknown}")
    found: list[Resource] = []
    for entry in [*rules.get("resources", ()), *rules.get("components", ())]:
        path = folder / entry
        found += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    # A component changes what the others have brought.
    renamed = [rules, *(_rules(folder / entry) for entry in rules.get("components", ()))]
    for image in (image for each in renamed for image in each.get("images", ())):
        _rename(found, image)
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


def _rules(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def _rename(part: Any, image: dict[str, str]) -> None:
    """Gives containers that use an image its new name, with its new tag or digest."""
    if isinstance(part, list):
        for each in part:
            _rename(each, image)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in ("containers", "initContainers"):
                for container in value:
                    name, _, tag = container["image"].partition(":")
                    if name == image["name"]:
                        end = f"@{image['digest']}" if "digest" in image else f":{image.get('newTag', tag)}"
                        container["image"] = image.get("newName", name) + end
            else:
                _rename(value, image)


def _value(resource: Resource, key: str) -> Any:
    return resource["kind"] if key == "kind" else resource["metadata"][key]


def _replace(resource: Any, operation: dict[str, Any]) -> None:
    if operation["op"] != "replace":
        raise NotImplementedError(operation["op"])
    *way, last = [int(part) if part.isdigit() else part for part in operation["path"].strip("/").split("/")]
    for part in way:
        resource = resource[part]
    resource[last] = operation["value"]
