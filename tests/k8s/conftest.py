"""What the tests of manifests share."""

from __future__ import annotations

import pytest

from tests.k8s.manifests import COMPONENTS, OVERLAYS, Built, build_objects, kustomize

TARGETS = ("base", *OVERLAYS, *(f"base+{name}" for name in COMPONENTS))


@pytest.fixture(params=TARGETS)
def objects(request: pytest.FixtureRequest) -> Built:
    """The objects of the base, each overlay, and each component by itself."""
    if kustomize() is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    return build_objects(request.param)


@pytest.fixture
def production() -> Built:
    """The objects of production."""
    if kustomize() is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    return build_objects("production")
