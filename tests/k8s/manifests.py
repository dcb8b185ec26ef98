"""Kubernetes objects as kustomize builds them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import yaml

from tests.conftest import REPOSITORY

MANIFESTS = REPOSITORY / "k8s"
OVERLAYS = ("dev", "staging", "production")
COMPONENTS = tuple(sorted(path.name for path in (MANIFESTS / "components").iterdir()))

Built: TypeAlias = list[dict[str, Any]]


def kustomize() -> list[str] | None:
    """Give the command that builds a folder; None if neither program is here."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else None


@cache
def build(target: str) -> str:
    """Build ``base``, an overlay by name, or ``base+component`` as YAML text."""
    program = kustomize()
    assert program is not None
    if "+" not in target:
        folder = MANIFESTS / ("base" if target == "base" else f"overlays/{target}")
        return _run([*program, str(folder)])
    base, _, component = target.partition("+")
    with TemporaryDirectory() as folder:
        where = {
            "namespace": "cxr",
            "resources": [os.path.relpath(MANIFESTS / base, os.path.realpath(folder))],
            "components": [
                os.path.relpath(MANIFESTS / "components" / component, os.path.realpath(folder))
            ],
        }
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(where))
        return _run([*program, folder])


def build_objects(target: str) -> Built:
    """Give the objects of :func:`build`."""
    return list(yaml.safe_load_all(build(target)))


def of_kind(objects: Built, *kinds: str) -> Built:
    return [one for one in objects if one["kind"] in kinds]


def pod_specs(objects: Built) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each pod specification with the name of its object."""
    for one in objects:
        name = one["metadata"]["name"]
        if one["kind"] == "InferenceService":
            yield name, one["spec"]["predictor"]
        elif "template" in one["spec"] if isinstance(one.get("spec"), dict) else False:
            yield name, one["spec"]["template"]["spec"]


def environment(objects: Built, container: dict[str, Any]) -> dict[str, str]:
    """Give a container's variables as it will have them; a Secret's as its name."""
    data = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        variables |= data[source["configMapRef"]["name"]]
    for entry in container.get("env", ()):
        secret = entry.get("valueFrom", {}).get("secretKeyRef", {})
        variables[entry["name"]] = entry.get("value", secret.get("name", ""))
    return variables


METRIC = re.compile(r"\b(cxr_[a-z0-9_]+)(?:\{([^}]*)\})?")


def metrics_in(expressions: Iterable[str]) -> set[tuple[str, str]]:
    """Give metrics named in PromQL, each with its matchers as they are written."""
    return {found for text in expressions for found in METRIC.findall(text)}


def _run(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
