"""Scopes, by route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

AccessScope: TypeAlias = Literal["predict", "explain", "jobs", "metrics", "admin"]

SCOPES: frozenset[str] = frozenset(get_args(AccessScope))

LOOPBACK_ONLY: frozenset[str] = frozenset({"admin"})
"""Scopes anonymous callers have on loopback only."""

OPEN: frozenset[str] | None = None
"""For routes that need no scope: probes and pages."""

_PREDICT, _EXPLAIN = frozenset({"predict"}), frozenset({"explain"})
_JOBS, _METRICS, _ADMIN = frozenset({"jobs"}), frozenset({"metrics"}), frozenset({"admin"})

ANY = SCOPES
"""For routes that any scope allows, such as the list of models."""

Routes: TypeAlias = Mapping[tuple[str, str], frozenset[str] | None]
"""Scopes of which a caller needs one, by method and path template."""

_SHARED: Routes = {
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/health"): OPEN,
    ("GET", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/docs/problems"): OPEN,
    ("GET", "/metrics"): _METRICS,
}

SERVICE_ROUTES: Routes = {
    **_SHARED,
    ("GET", "/"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/page/{path:path}"): OPEN,
    ("GET", "/docs-assets/{path:path}"): OPEN,
    ("POST", "/v1/predict"): _PREDICT,
    ("POST", "/v1/explain"): _EXPLAIN,
    ("POST", "/v1/render"): _PREDICT | _EXPLAIN,
    ("GET", "/v1/models"): ANY,
    ("GET", "/v1/models/{name}"): ANY,
    ("POST", "/v1/models/{name}:load"): _ADMIN,
    ("POST", "/v1/models/{name}:unload"): _ADMIN,
    ("POST", "/v1/models/{name}:rollback"): _ADMIN,
    ("GET", "/v2"): ANY,
    ("GET", "/v2/health/live"): OPEN,
    ("GET", "/v2/health/ready"): OPEN,
    ("POST", "/v2/repository/index"): ANY,
    ("GET", "/v2/models/{name}"): ANY,
    ("GET", "/v2/models/{name}/versions/{version}"): ANY,
    ("GET", "/v2/models/{name}/ready"): OPEN,
    ("GET", "/v2/models/{name}/versions/{version}/ready"): OPEN,
    ("POST", "/v2/models/{name}/infer"): _PREDICT,
    ("POST", "/v2/models/{name}/versions/{version}/infer"): _PREDICT,
}

GATEWAY_ROUTES: Routes = {
    **_SHARED,
    ("POST", "/dicomweb/studies"): _PREDICT,
    ("POST", "/dicomweb/studies/{study_instance_uid}"): _PREDICT,
    ("POST", "/v1/studies/{study_instance_uid}:analyze"): _PREDICT,
    ("GET", "/v1/jobs"): _JOBS,
    ("GET", "/v1/jobs/{job_id}"): _JOBS,
    ("POST", "/v1/jobs/{job_id}:retry"): _JOBS,
}
