"""The peers' environments have what the peers import, without an installation to see it."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions

import grimp
import pytest

from benchmarks.peers.environment import PEERS, SHARED, requirements

BROUGHT_ALONG = {"mosec": {"mosec"}, "litserve": {"litserve", "fastapi"}}
"""What a peer's own package installs."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """What imports what in the repository, function by function, too."""
    return grimp.build_graph("benchmarks", "cxr", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("peer", PEERS)
def test_environment_has_what_the_peer_imports(peer: str, imports: grimp.ImportGraph) -> None:
    """Of others' packages, however many of our modules lie between."""
    reached = imports.find_upstream_modules(f"benchmarks.peers.{peer}_app")
    others = {name.partition(".")[0] for name in reached} - {"benchmarks", "cxr"}
    needed = others - sys.stdlib_module_names - BROUGHT_ALONG[peer]
    installs = packages_distributions()
    assert {"numpy", "onnxruntime"} <= needed
    missing = {name for name in needed if not set(installs[name]) & set(SHARED)}
    assert missing == set()


@pytest.mark.parametrize("peer", PEERS)
def test_peers_get_the_versions_the_service_runs(peer: str) -> None:
    """Decoder and engine are the same to the last digit, and no host is named."""
    wanted = requirements(peer)
    assert len(wanted) == 1 + len(SHARED)
    assert all("==" in one and "/" not in one for one in wanted)
