"""Every object is one that Kubernetes, or the operator it is for, would take."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator, ValidationError
from kubernetes_validate.utils import all_versions

from tests.k8s.manifests import Built, build_objects, kustomize

SCHEMAS = Path(__file__).parent / "schemas"
NEWEST = list(dict.fromkeys(all_versions()))[-3:]  # each comes twice: lax and strict
CUSTOM = {
    "ServiceMonitor",
    "PrometheusRule",
    "ScaledObject",
    "InferenceService",
    "Gateway",
    "HTTPRoute",
    "BackendTrafficPolicy",
}


@cache
def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{kind.lower()}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validate(one: dict[str, Any], version: str) -> None:
    if one["kind"] in CUSTOM:
        validator(one["kind"]).validate(one)
        return
    assert kubernetes_validate.validate(one, version, strict=True) == version.rpartition(".")[0]


def predictor_pod(one: dict[str, Any]) -> dict[str, Any]:
    own = {"minReplicas", "maxReplicas"}
    spec = {name: value for name, value in one["spec"]["predictor"].items() if name not in own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


@pytest.mark.parametrize("version", NEWEST)
def test_objects_are_valid(objects: Built, version: str) -> None:
    """In the three newest releases, strictly: no unknown field, no wrong type."""
    for one in objects:
        validate(one, version)
        if one["kind"] == "InferenceService":
            validate(predictor_pod(one), version)


def test_no_object_comes_twice(objects: Built) -> None:
    """Kind and name are unique, and all but the namespace lie in it."""
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    (namespace,) = (one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")
    assert {one["metadata"].get("namespace", namespace) for one in objects} == {namespace}


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_custom_schema_refuses_what_is_misspelt(kind: str) -> None:
    """A field nobody knows is refused."""
    if kustomize() is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    targets = ("production", "base+autoscale-keda", "base+kserve")
    (one, *_) = (o for target in targets for o in build_objects(target) if o["kind"] == kind)
    with pytest.raises(ValidationError):
        validator(kind).validate({**one, "sepc": {}})
    with pytest.raises(ValidationError):
        validator(kind).validate({**one, "spec": {"sepc": 1}})
