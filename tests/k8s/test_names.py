"""What manifests, alerts, dashboard and compose.yaml name exists in the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from starlette.routing import Mount, Route

from service.app.application import build_app
from service.engines.registry import build_engine
from service.gateway.destinations import parse_destinations
from service.gateway.http import health, jobs, stow, studies
from service.gateway.settings import load_gateway_settings
from service.gateway.store.states import STATES
from service.http import pages
from service.models.runtime import Runtime
from service.settings import Settings, load_settings
from service.telemetry.gateway import GATEWAY_METRICS
from service.telemetry.metrics import METRICS
from service.web.problems import ALL_PROBLEM_TYPES
from tests.conftest import REPOSITORY
from tests.k8s.manifests import (
    MANIFESTS,
    Built,
    build_objects,
    environment,
    metrics_in,
    of_kind,
    pod_specs,
)

COMPOSE = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
MONITORING = MANIFESTS / "components" / "monitoring"
AUTOSCALE = MANIFESTS / "components" / "autoscale"
SCRAPED = {"namespace", "pod", "job", "instance", "le"}  # labels that Prometheus adds
DECLARED = {metric.name: metric for metric in (*METRICS, *GATEWAY_METRICS)}


def app_of(container: dict[str, Any]) -> str:
    return "gateway" if container["args"] == ["gateway"] else "service"


@cache
def paths(app: str) -> frozenset[str]:
    """Give the templates of an application's routes."""
    if app == "service":
        built = build_app(Runtime(Settings.model_construct(access="anonymous"), build_engine))
    else:
        built = FastAPI()
        for module in (stow, studies, jobs, health):
            built.include_router(module.router)
    routes = (*built.routes, *pages.router.routes)
    found = {route.path for route in routes if isinstance(route, Route | Mount)}
    return frozenset(found | set(built.openapi()["paths"]))


def load(app: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read settings as the process would that has these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_gateway_settings() if app == "gateway" else load_settings()


def test_variables_are_settings(objects: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service and gateway start on what ConfigMaps give them: all known, all allowed."""
    for _, pod in pod_specs(objects):
        for one in pod["containers"]:
            variables = environment(objects, one)
            if "CXR_GATEWAY_DATABASE_URL" in variables:
                variables["CXR_GATEWAY_DATABASE_URL"] = "postgresql://user:word@database/cxr"
            with monkeypatch.context() as patch:
                settings = load(app_of(one), variables, patch)
            ports = {port["name"]: port["containerPort"] for port in one["ports"]}
            assert ports["http"] == settings.port
            assert settings.host == "0.0.0.0"
            if app_of(one) == "gateway":
                assert ports["dimse"] == settings.dimse_port


def test_variables_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of each target of the Dockerfile, and the port it tells of."""
    text = (REPOSITORY / "Dockerfile").read_text()
    found = dict(re.findall(r"(CXR_[A-Z_]+)=(\S+)", text))
    settings = load("service", found | {"CXR_ACCESS": "anonymous"}, monkeypatch)
    assert re.findall(r"(?m)^EXPOSE (\d+)$", text) == [str(settings.port)]


def test_variables_of_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service and gateway start on theirs; published ports are those they listen on."""
    for name in ("service", "gateway"):
        service = COMPOSE["services"][name]
        with monkeypatch.context() as patch:
            settings = load(name, service["environment"], patch)
        inside = {int(port.rpartition(":")[2]) for port in service["ports"]}
        listening = {settings.port} | ({settings.dimse_port} if name == "gateway" else set())
        assert inside == listening


def test_compose_leads_to_its_own_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's service, its archive and what Prometheus asks are in the file."""
    gateway = COMPOSE["services"]["gateway"]["environment"]
    assert gateway["CXR_GATEWAY_SERVICE_URL"] == "http://service:8000"
    (archive,) = parse_destinations(gateway["CXR_GATEWAY_DESTINATIONS"])
    assert "//orthanc:8042/" in archive.url
    scraped = yaml.safe_load((REPOSITORY / "deploy" / "prometheus.yaml").read_text())
    for job in scraped["scrape_configs"]:
        name, _, port = job["static_configs"][0]["targets"][0].partition(":")
        assert any(one.endswith(f":{port}") for one in COMPOSE["services"][name]["ports"])
        assert job["metrics_path"] in paths(name)


def test_paths_are_routes(objects: Built) -> None:
    """Probes and scrapes ask for what is answered."""
    for _, pod in pod_specs(objects):
        for one in pod["containers"]:
            asked = {
                probe["httpGet"]["path"] for name, probe in one.items() if name.endswith("Probe")
            }
            assert asked <= paths(app_of(one))
    for monitor in of_kind(objects, "ServiceMonitor"):
        app = monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        assert {end["path"] for end in monitor["spec"]["endpoints"]} <= paths(app)


def test_image_checks_its_health_at_a_route() -> None:
    """Of the service and of the gateway."""
    text = (REPOSITORY / "deploy" / "image" / "healthcheck.py").read_text()
    (path,) = re.findall(r'"GET", "([^"]+)"', text)
    assert path in paths("service") & paths("gateway")


def _matches(rule: dict[str, Any]) -> Iterator[re.Pattern[str]]:
    for match in rule["matches"]:
        value, kind = match["path"]["value"], match["path"]["type"]
        yield re.compile(re.escape(value) + ("(/.*)?$" if kind == "PathPrefix" else "$"))


def test_what_the_world_reaches(production: Built) -> None:
    """Each match of the HTTPRoute is a route of ours; metrics and probes are not reachable."""
    (route,) = of_kind(production, "HTTPRoute")
    patterns = [pattern for rule in route["spec"]["rules"] for pattern in _matches(rule)]
    for pattern in patterns:
        assert any(pattern.match(path) for path in paths("service")), pattern.pattern
    reached = {path for path in paths("service") if any(p.match(path) for p in patterns)}
    assert {"/v1/predict", "/v1/explain", "/v2/models/{name}/infer", "/docs"} <= reached
    assert not {"/metrics", "/health/live", "/health/ready"} & reached


def test_body_limits_agree(production: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ingress refuses what the service would, and nothing else."""
    (policy,) = of_kind(production, "BackendTrafficPolicy")
    (config,) = (
        one
        for one in of_kind(production, "ConfigMap")
        if one["metadata"]["name"].startswith("cxr-settings")
    )
    settings = load("service", config["data"], monkeypatch)
    assert policy["spec"]["requestBuffer"]["limit"] == f"{settings.max_body_bytes // 1024**2}Mi"


def test_ports_lead_to_ports(objects: Built) -> None:
    """Services, policies, monitors and routes name ports that pods or Services have."""
    pods = {
        port["name"]: port["containerPort"]
        for _, pod in pod_specs(objects)
        for one in pod["containers"]
        for port in one["ports"]
    }
    services = {one["metadata"]["name"]: one for one in of_kind(objects, "Service")}
    for one in services.values():
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= pods.keys()
    for one in of_kind(objects, "NetworkPolicy"):
        for rule in one["spec"].get("ingress", ()):
            assert {port["port"] for port in rule["ports"]} <= {"http", "dimse"}
    for one in of_kind(objects, "ServiceMonitor"):
        selector = one["spec"]["selector"]["matchLabels"].items()
        for service in services.values():
            if selector <= service["metadata"]["labels"].items():
                names = {port["name"] for port in service["spec"]["ports"]}
                assert {end["port"] for end in one["spec"]["endpoints"]} <= names
    for one in of_kind(objects, "HTTPRoute"):
        for backend in (b for rule in one["spec"]["rules"] for b in rule["backendRefs"]):
            ports = {port["port"] for port in services[backend["name"]]["spec"]["ports"]}
            assert backend["port"] in ports


def test_gateways_ask_the_service_by_its_name() -> None:
    """The address of the service is that of its Service, at the port it has."""
    objects = build_objects("staging")
    (config,) = (
        one["data"]
        for one in of_kind(objects, "ConfigMap")
        if "CXR_GATEWAY_SERVICE_URL" in one["data"]
    )
    (service,) = (
        one for one in of_kind(objects, "Service") if one["metadata"]["name"] == "cxr-inference"
    )
    assert service["spec"]["ports"][0]["port"] == 80
    assert config["CXR_GATEWAY_SERVICE_URL"] == f"http://{service['metadata']['name']}"


def alert_expressions() -> list[str]:
    groups = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())["spec"]["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def scaling_expressions() -> list[str]:
    keda = MANIFESTS / "components" / "autoscale-keda" / "scaledobject.yaml"
    triggers = yaml.safe_load(keda.read_text())["spec"]["triggers"]
    adapter = yaml.safe_load((AUTOSCALE / "prometheus-adapter.yaml").read_text())
    series = [rule["seriesQuery"] for rule in adapter["rules"]["custom"]]
    return [trigger["metadata"]["query"] for trigger in triggers] + series


def declared(name: str) -> Any:
    """Give the metric a series belongs to; histograms have three."""
    for suffix in ("_bucket", "_sum", "_count"):
        metric = DECLARED.get(name.removesuffix(suffix))
        if name.endswith(suffix) and metric is not None and metric.kind == "histogram":
            return metric
    return DECLARED.get(name)


VALUES: dict[str, set[str]] = {
    "problem": {kind.slug for kind in ALL_PROBLEM_TYPES},
    "decision": {"positive", "negative", "refer", "out-of-scope"},
    "work": {"predict", "explain"},
    "state": set(STATES),
}


@pytest.mark.parametrize(
    "expressions",
    [alert_expressions(), dashboard_expressions(), scaling_expressions()],
    ids=["alerts", "dashboard", "scaling"],
)
def test_metrics_are_declared(expressions: list[str]) -> None:
    """Each series by its name, with labels it has, and values that these can have."""
    found = metrics_in(expressions)
    assert found
    for name, matchers in found:
        metric = declared(name)
        assert metric is not None, name
        for label, _, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            assert label in {*metric.labels, *SCRAPED}, (name, label)
            if label in VALUES:
                assert value in VALUES[label], (name, label, value)
            if label == "route":
                routes = [*paths("service"), *paths("gateway")]
                assert any(re.fullmatch(value, path) for path in routes), value


def test_dashboard_and_alerts_tell_of_every_metric() -> None:
    """None is recorded that nobody looks at."""
    shown = {declared(name).name for name, _ in metrics_in(dashboard_expressions())}
    unseen = {"cxr_drift_images", "cxr_gateway_requests_total"}
    http = {name for name in DECLARED if name.startswith("cxr_gateway_request")}
    assert DECLARED.keys() - shown <= unseen | http


def test_autoscaler_asks_for_what_the_adapter_gives(production: Built) -> None:
    """By the same names."""
    (scaler,) = of_kind(production, "HorizontalPodAutoscaler")
    asked = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    rules = yaml.safe_load((AUTOSCALE / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert asked == {rule["name"]["as"] for rule in rules}


def test_dashboard_panels_lie_beside_each_other() -> None:
    """No two overlap, none sticks out, ids are unique."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
