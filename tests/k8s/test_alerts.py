"""Alerts load in Prometheus, fire on series that are bad and keep quiet on others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import MANIFESTS

HERE = Path(__file__).parent
RULES = MANIFESTS / "components" / "monitoring" / "prometheusrule.yaml"
ADAPTER = MANIFESTS / "components" / "autoscale" / "prometheus-adapter.yaml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's prometheus)"
)


def rules() -> dict[str, Any]:
    return yaml.safe_load(RULES.read_text())["spec"]


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the rules lie as Prometheus reads them, beside their tests."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    shutil.copy(HERE / "alerts.yaml", tmp_path)
    return tmp_path


@needs_promtool
def test_rules_load(folder: Path) -> None:
    """Prometheus finds nothing to complain of."""
    finished = promtool("check", "rules", "rules.yaml", folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "SUCCESS" in finished.stdout


@needs_promtool
def test_alerts_fire_and_keep_quiet(folder: Path) -> None:
    """On the series of alerts.yaml."""
    finished = promtool("test", "rules", "alerts.yaml", folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_alert_is_shown_to_fire_and_to_keep_quiet() -> None:
    """None without series for both."""
    tests = yaml.safe_load((HERE / "alerts.yaml").read_text())["tests"]
    shown = {
        (one["alertname"], bool(one["exp_alerts"]))
        for test in tests
        for one in test["alert_rule_test"]
    }
    alerts = {rule["alert"] for group in rules()["groups"] for rule in group["rules"]}
    assert shown == {(alert, fires) for alert in alerts for fires in (True, False)}


@needs_promtool
@pytest.mark.parametrize(
    ("metric", "value"), [("cxr_queue_depth_mean", 12), ("cxr_refusals_per_second", 2)]
)
def test_adapter_answers_for_each_pod(tmp_path: Path, metric: str, value: int) -> None:
    """The adapter's query gives one number a pod: of both models together, of refusals alone."""
    (query,) = (
        rule["metricsQuery"]
        for rule in yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
        if rule["name"]["as"] == metric
    )
    series = "cxr_queue_depth" if "depth" in metric else "cxr_request_problems_total"
    for template, text in (
        ("<<.Series>>", series),
        ("<<.LabelMatchers>>", 'namespace="cxr",pod=~"a|b"'),
        ("<<.GroupBy>>", "pod"),
    ):
        query = query.replace(template, text)
    labels = 'namespace="cxr",pod="a"'
    made = [
        (f'cxr_queue_depth{{{labels},model="x",work="predict"}}', "4x40"),
        (f'cxr_queue_depth{{{labels},model="y",work="predict"}}', "8x40"),
        (f'cxr_request_problems_total{{{labels},problem="queue-full"}}', "0+30x40"),
        (f'cxr_request_problems_total{{{labels},problem="unreadable-image"}}', "0+150x40"),
    ]
    (tmp_path / "none.yaml").write_text("groups: []\n")
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in made],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "5m",
                "exp_samples": [{"labels": '{pod="a"}', "value": value}],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["none.yaml"], "evaluation_interval": "15s", "tests": [test]})
    )
    finished = promtool("test", "rules", "test.yaml", folder=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
