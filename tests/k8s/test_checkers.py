"""The linters checkov and hadolint find nothing in manifests and Dockerfile but what is waived."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.k8s.manifests import COMPONENTS, OVERLAYS, build, kustomize

CHECKERS = REPOSITORY / ".checkers"
DOCKERFILE = REPOSITORY / "Dockerfile"

WAIVED = {
    "CKV_K8S_43": "digests are of whoever builds the images; docs/kubernetes.md says how to pin",
    "CKV_K8S_35": "the gateway reads its database's address, password included, as a variable",
    "CKV_DOCKER_7": "the base is an ARG, which checkov does not look into; tested below",
}

pytestmark = pytest.mark.skipif(
    not (CHECKERS / ".installed").is_file(), reason="checkov is not installed (make checkers)"
)


def checkov(framework: str, *arguments: str) -> tuple[int, set[tuple[str, str]]]:
    """Give how many checks passed, and those that failed with their resources."""
    finished = subprocess.run(
        [
            str(CHECKERS / "bin" / "checkov"),
            *("--framework", framework, *arguments),
            *("--compact", "--quiet", "--skip-download", "--output", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    told = json.loads(finished.stdout)
    failed = {(one["check_id"], one["resource"]) for one in told["results"]["failed_checks"]}
    return told["summary"]["passed"], failed


def test_manifests(tmp_path: Path) -> None:
    """Rules of checkov for Kubernetes, on every overlay and every component."""
    if kustomize() is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    for target in (*OVERLAYS, *(f"base+{name}" for name in COMPONENTS)):
        (tmp_path / f"{target}.yaml").write_text(build(target))
    passed, failed = checkov("kubernetes", "--directory", str(tmp_path))
    assert passed > 400
    assert {(check, resource) for check, resource in failed if check not in WAIVED} == set()
    assert {resource for check, resource in failed if check == "CKV_K8S_35"} == {
        "Deployment.cxr.cxr-gateway"
    }


def test_a_privileged_pod_is_found(tmp_path: Path) -> None:
    """The rules are awake."""
    if kustomize() is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    (tmp_path / "bad.yaml").write_text(
        build("base").replace(
            "allowPrivilegeEscalation: false",
            "allowPrivilegeEscalation: true\n          privileged: true",
        )
    )
    _, failed = checkov("kubernetes", "--directory", str(tmp_path))
    assert {"CKV_K8S_16", "CKV_K8S_20"} <= {check for check, _ in failed}


def test_dockerfile() -> None:
    """Rules of checkov for Dockerfiles."""
    passed, failed = checkov("dockerfile", "--file", str(DOCKERFILE))
    assert passed > 50
    assert {check for check, _ in failed} <= WAIVED.keys()


def test_dockerfile_with_hadolint() -> None:
    """The linter hadolint says nothing."""
    finished = subprocess.run(
        [str(CHECKERS / "bin" / "hadolint"), str(DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.stdout + finished.stderr == ""
    assert finished.returncode == 0
