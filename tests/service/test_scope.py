"""Pictures the model was not made for: referred, or refused if the operator says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr.errors import BundleError
from cxr.verdict import reasons as why
from service.commands.scoring import score_files
from service.engines.registry import build_engine
from service.models.loading import load_models
from service.settings import Settings
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import running
from tests.service.make_bundle import LIKE_CHILDREN, make_bundle, make_gate, write_manifest
from tests.service.make_images import make_flat_png, make_png
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"


@pytest.fixture(scope="module")
def strict_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose gate takes nothing for a chest, and one that finds every embedding far."""
    root = tmp_path_factory.mktemp("strict")
    lines = {"nothing": {"layout": 1.0, "embedding": 1e9}, "far": {"layout": -1.0, "embedding": -1}}
    for name, chosen in lines.items():
        thresholds = chosen | {"populations": LIKE_CHILDREN}
        make_bundle(root, name, scope={"thresholds": thresholds, "figures": []})
    return root


def strict(bundles: Path, **changes: str) -> Settings:
    return make_settings(bundles, models="", default_model="nothing", **changes)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nothing", why.NOT_A_CHEST),
        ("far", why.UNLIKE_TRAINING),
    ],
)
async def test_gate_of_the_bundle_is_asked(
    strict_bundles: Path, model: str, reason: why.Reason
) -> None:
    """Lines and numbers are the bundle's; what is no chest is a picture of nobody."""
    async with running(strict(strict_bundles), build_engine) as service:
        query = {"model": model}
        response = await service.client.post(PREDICT, content=make_png(170), params=query)
    result = response.json()["results"][0]
    assert response.status_code == 200
    assert result["scope"] == {"in_scope": False, "reasons": [reason.text], "codes": [reason.code]}
    assert (result["warnings"], result["decision"], result["population"]) == ([], "refer", None)


async def test_refusal_is_the_operators_choice(strict_bundles: Path) -> None:
    """One image gets the problem; the detail is the reason, for predict and explain alike."""
    settings = strict(strict_bundles, scope="refuse")
    async with running(settings, build_engine, FakeExplainer().build) as service:
        for path in (PREDICT, "/v1/explain"):
            response = await service.client.post(path, content=make_png(170))
            problem = verify_problem(response, 422, "image-out-of-scope")
            assert problem["detail"] == why.NOT_A_CHEST.text


async def test_refused_image_of_many_fails_alone(bundles: Path) -> None:
    """Plain checks refuse, too; the other image is answered."""
    files = [("files", make_flat_png(200)), ("files", make_png(170))]
    async with running(make_settings(bundles, scope="refuse"), build_engine) as service:
        response = await service.client.post(PREDICT, files=files)
    first, second = response.json()["results"]
    assert first["problem"]["type"].endswith("#image-out-of-scope")
    assert "blank" in first["problem"]["detail"]
    assert second["status"] == "ok"


def test_command_line_refuses_likewise(strict_bundles: Path, tmp_path: Path) -> None:
    """``python -m service predict`` follows the same setting."""
    (tmp_path / "a.png").write_bytes(make_png(170))
    for policy, is_ok in (("warn", True), ("refuse", False)):
        settings = strict(strict_bundles, scope=policy)
        model = load_models(settings, build_engine, ("nothing",))["nothing"]
        point = model.bundle.manifest.operating_point()
        [scored] = score_files([tmp_path / "a.png"], model, point, settings)
        assert scored.is_ok == is_ok


async def test_gate_of_another_network_is_told_at_start(tmp_path: Path) -> None:
    """The service does not start with a gate that does not fit its graph."""
    path = make_bundle(tmp_path)
    wide = replace(
        make_gate(),
        embedding_mean=np.zeros(3, dtype=np.float32),
        embedding_whitening=np.eye(3, dtype=np.float32),
    )
    wide.save(path / "scope.safetensors")
    write_manifest(path, json.loads((path / "manifest.json").read_text()))
    with pytest.raises(BundleError, match="another network"):
        load_models(make_settings(tmp_path), build_engine)
