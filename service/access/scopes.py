"""What a caller may be allowed to do, and which scope each route needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

AccessScope: TypeAlias = Literal["predict", "explain", "jobs", "metrics", "admin"]

SCOPES: frozenset[str] = frozenset(get_args(AccessScope))

LOOPBACK_ONLY: frozenset[str] = frozenset({"admin"})
"""What nobody may do without a name, unless it is somebody on this machine."""

OPEN: frozenset[str] | None = None
"""A route that anyone may ask: probes, pages, and what they are made of."""

_PREDICT, _EXPLAIN = frozenset({"predict"}), frozenset({"explain"})
_JOBS, _METRICS, _ADMIN = frozenset({"jobs"}), frozenset({"metrics"}), frozenset({"admin"})

ANY = SCOPES
"""What is loaded and how good it is: for whoever has any scope at all."""

Routes: TypeAlias = Mapping[tuple[str, str], frozenset[str] | None]
"""Method and template of each route, with the scopes of which a caller needs one."""

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
