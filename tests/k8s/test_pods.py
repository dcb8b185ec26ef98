"""Pods are probed, bounded, restricted and given time to finish."""

from __future__ import annotations

from typing import Any

import pytest

from cxr.images.decoding import PIXEL_BYTES
from service.app.server import CLOSE_CONNECTIONS_S
from service.gateway.server import CLOSE_CONNECTIONS_S as GATEWAY_CLOSE_CONNECTIONS_S
from service.gateway.settings import GatewaySettings
from service.settings import Settings
from tests.k8s.manifests import Built, build_objects, environment, of_kind, pod_specs

MIB = 1024**2
MARGIN_S = 5
MEASURED_RSS = 470 * MIB  # with all three models, explanations off: "Sizing" in docs/kubernetes.md


def containers(objects: Built) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]]:
    """Give each container with its pod and its variables."""
    return [
        (pod, one, environment(objects, one))
        for _, pod in pod_specs(objects)
        for one in pod["containers"]
    ]


def number_of(variables: dict[str, str], kind: type[Settings | GatewaySettings], name: str) -> Any:
    prefix = str(kind.model_config["env_prefix"])
    default = kind.model_fields[name].default
    return type(default)(variables.get(prefix + name.upper(), default))


def bytes_of(quantity: str) -> int:
    for unit, factor in (("Gi", 1024 * MIB), ("Mi", MIB)):
        if quantity.endswith(unit):
            return int(quantity.removesuffix(unit)) * factor
    raise ValueError(quantity)


def test_probes(objects: Built) -> None:
    """Started and ready by readiness, alive by liveness, which is slower to give up."""
    for _, one, _ in containers(objects):
        paths = {
            name: one[f"{name}Probe"]["httpGet"]["path"]
            for name in ("startup", "readiness", "liveness")
        }
        assert paths == {
            "startup": "/health/ready",
            "readiness": "/health/ready",
            "liveness": "/health/live",
        }
        patience = {
            name: one[f"{name}Probe"]["periodSeconds"] * one[f"{name}Probe"]["failureThreshold"]
            for name in paths
        }
        assert patience["startup"] >= 120
        assert patience["readiness"] <= 5 < 60 <= patience["liveness"]


def test_grace_period_covers_the_drain(objects: Built) -> None:
    """A pod is killed only after preStop, the drain and the closing of connections."""
    for pod, one, variables in containers(objects):
        before_s = one["lifecycle"]["preStop"]["sleep"]["seconds"]
        if one["args"] == ["gateway"]:
            drain_s = number_of(variables, GatewaySettings, "drain_s") + GATEWAY_CLOSE_CONNECTIONS_S
        else:
            drain_s = (
                number_of(variables, Settings, "drain_delay_s")
                + number_of(variables, Settings, "drain_s")
                + CLOSE_CONNECTIONS_S
            )
        assert pod["terminationGracePeriodSeconds"] >= before_s + drain_s + MARGIN_S


def test_endpoints_are_gone_before_the_signal(objects: Built) -> None:
    """The wait before the signal is longer than readiness needs, so nobody is sent to a drainer."""
    for _, one, _ in containers(objects):
        ready = one["readinessProbe"]
        patience_s = ready["periodSeconds"] * ready["failureThreshold"]
        assert one["lifecycle"]["preStop"]["sleep"]["seconds"] >= 2 * patience_s


def test_drain_outlasts_a_deadline(objects: Built) -> None:
    """What was accepted last may take its whole deadline."""
    for _, one, variables in containers(objects):
        if one["args"] == ["serve"]:
            deadline_s = number_of(variables, Settings, "deadline_ms") / 1000
            assert number_of(variables, Settings, "drain_s") >= 2 * deadline_s


def test_restricted_profile(objects: Built) -> None:
    """Pods satisfy the restricted Pod Security Standard, which the namespace enforces."""
    for namespace in of_kind(objects, "Namespace"):
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod, one, _ in containers(objects):
        of_pod, of_container = pod["securityContext"], one["securityContext"]
        assert of_pod["runAsNonRoot"] is of_container["runAsNonRoot"] is True
        assert of_pod["runAsUser"] >= 10_000
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container["allowPrivilegeEscalation"] is False
        assert of_container["readOnlyRootFilesystem"] is True
        assert of_container["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in of_container
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}


def test_no_token_and_no_links(objects: Built) -> None:
    """No pod speaks to the API server; links of services would be unknown CXR_* variables."""
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")}
    for _, pod in pod_specs(objects):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["serviceAccountName"] in accounts


def test_limits(objects: Built) -> None:
    """Requests and limits of CPU and memory; memory is never promised to two."""
    for _, one, variables in containers(objects):
        requests, limits = one["resources"]["requests"], one["resources"]["limits"]
        assert {"cpu", "memory"} <= requests.keys() & limits.keys()
        if one["args"] != ["serve"]:
            continue
        assert requests["memory"] == limits["memory"]
        assert requests["cpu"] == limits["cpu"]
        assert 2 <= int(limits["cpu"]) <= 4  # "two to four cores" in docs/performance.md
        buffered = number_of(variables, Settings, "max_buffered_bytes")
        buffered += number_of(variables, Settings, "max_body_bytes")  # one that is joined
        image = number_of(variables, Settings, "max_image_pixels") * PIXEL_BYTES
        workers = number_of(variables, Settings, "workers") or int(limits["cpu"])
        assert bytes_of(limits["memory"]) >= MEASURED_RSS + buffered + workers * image


def test_mounts_are_volumes_and_tmp_is_writable(objects: Built) -> None:
    """With a read-only root, what is written needs a volume."""
    claimed = {
        claim["metadata"]["name"]
        for one in of_kind(objects, "StatefulSet")
        for claim in one["spec"].get("volumeClaimTemplates", ())
    }
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    for pod, one, variables in containers(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]}
        assert set(mounts.values()) <= volumes.keys() | claimed
        assert "emptyDir" in volumes[mounts["/tmp"]]
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert claim is None or claim in claims
        for name in ("CXR_API_KEYS_FILE", "CXR_GATEWAY_SPOOL_DIR"):
            path = variables.get(name)
            assert not path or any(path.startswith(f"{mount}/") for mount in mounts)


def test_references_lead_somewhere(objects: Built) -> None:
    """ConfigMaps that pods name are there, by the very name they were built with."""
    there = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    for _, one, _ in containers(objects):
        assert {source["configMapRef"]["name"] for source in one["envFrom"]} <= there


def test_gpu_pods() -> None:
    """One device a pod and its provider asked for; no other overlay has either."""
    for target, devices in (("production", "1"), ("staging", None), ("dev", None)):
        for pod, one, variables in containers(build_objects(target)):
            if one["args"] == ["serve"]:
                assert one["resources"]["limits"].get("nvidia.com/gpu") == devices
                assert variables["CXR_PROVIDER"] == ("cuda" if devices else "cpu")
                assert pod.get("runtimeClassName") == ("nvidia" if devices else None)
                assert one["image"].partition(":")[0].endswith("-gpu") is bool(devices)


def test_who_may_ask() -> None:
    """Keys from a Secret everywhere but in dev, where anonymous is asked for by name."""
    for target in ("base", "staging", "production"):
        (found,) = (c for c in containers(build_objects(target)) if c[1]["args"] == ["serve"])
        assert found[2]["CXR_ACCESS"] == "keys"
        assert {"secret"} <= {kind for volume in found[0]["volumes"] for kind in volume}
    ((pod, _, variables),) = containers(build_objects("dev"))
    assert variables["CXR_ACCESS"] == "anonymous"
    assert not any("secret" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("target", ["staging", "production"])
def test_gateways_have_a_service_that_explains(target: str) -> None:
    """The gateway asks for overlays; a service without explanations would kill every job."""
    found = containers(build_objects(target))
    assert [one["args"] for _, one, _ in found].count(["gateway"]) == 1
    assert [v["CXR_EXPLAIN"] for _, one, v in found if one["args"] == ["serve"]] == ["on"]


def test_autoscaler_owns_the_replicas() -> None:
    """A Deployment with an autoscaler has no count of its own; others have."""
    for target, owned in (("production", True), ("base+autoscale-keda", True), ("staging", False)):
        for one in of_kind(build_objects(target), "Deployment"):
            if one["metadata"]["name"] == "cxr-inference":
                assert ("replicas" not in one["spec"]) is owned


def test_budget_and_policy_select_the_pods(objects: Built) -> None:
    """Each workload has a disruption budget and a policy for both directions."""
    for one in of_kind(objects, "Deployment", "StatefulSet"):
        labels = one["spec"]["template"]["metadata"]["labels"].items()
        assert one["spec"]["selector"]["matchLabels"].items() <= labels
        for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
            selecting = [
                other
                for other in of_kind(objects, kind)
                if other["spec"][field]["matchLabels"].items() <= labels
            ]
            assert selecting
            if kind == "NetworkPolicy":
                types = {name for other in selecting for name in other["spec"]["policyTypes"]}
                assert types == {"Ingress", "Egress"}


def test_no_policy_is_open(objects: Built) -> None:
    """Every rule names who and at which port."""
    for one in of_kind(objects, "NetworkPolicy"):
        spec = one["spec"]
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            assert rule["ports"]
            assert rule.get("from") or rule.get("to")
            for peer in (*rule.get("from", ()), *rule.get("to", ())):
                assert peer.get("ipBlock", {}).get("cidr") != "0.0.0.0/0"


@pytest.mark.parametrize("target", ["base", "staging"])
def test_rolling_update_never_has_fewer(target: str) -> None:
    """Without a scarce device a new pod is ready before an old one goes."""
    (one,) = (
        found
        for found in of_kind(build_objects(target), "Deployment")
        if found["metadata"]["name"] == "cxr-inference"
    )
    assert one["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
