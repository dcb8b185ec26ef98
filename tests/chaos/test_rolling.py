"""Replicas behind nginx that are replaced, taken away and killed under load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.nginx import find_nginx
from benchmarks.rolling import Plan, rolling
from tests.service.make_images import make_png

CLIENTS = 4

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")


def test_no_request_is_lost_by_change(bundles: Path, tmp_path: Path) -> None:
    """None by update and scale-down; a killed replica costs what it had begun, retried nothing."""
    files = []
    for grey in range(60, 160, 20):
        files.append(tmp_path / f"{grey}.png")
        files[-1].write_bytes(make_png(grey))
    plan = Plan(
        bundles,
        "cnn",
        tuple(files),
        tmp_path,
        replicas=2,
        clients=CLIENTS,
        requests=0,
        kills=1,
        pre_stop_s=0.6,
        propagation_s=0.2,
        unguarded=False,
    )
    figures = asyncio.run(rolling(plan))
    for part in ("rolling updates", "scale-down to one", "killed, clients retry"):
        assert figures[part]["lost"] == 0, figures[part]
        assert figures[part]["ok"] > 50
    # -1: the connection ended, because the replica had begun its answer, which nobody repeats.
    allowed = {
        "killed, nginx repeats": {"200", "429", "-1"},
        "killed, nothing repeated once sent": {"200", "429", "502", "-1"},
    }
    for part, statuses in allowed.items():
        assert set(figures[part]["statuses"]) <= statuses, figures[part]
        assert figures[part]["lost"] <= CLIENTS, figures[part]
