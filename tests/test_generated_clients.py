"""Clients generated from docs/openapi.json work, and their generators have nothing to warn of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from export.phantom import draw_phantom, encode_jpeg
from tests.conftest import REPOSITORY
from tests.live import LiveServer

BIN = REPOSITORY / ".generators" / "bin"
DOCUMENT = REPOSITORY / "docs" / "openapi.json"

pytestmark = pytest.mark.skipif(
    not (BIN / "python").is_file(), reason="make generators was not run"
)

WITH_CLIENT = """
import base64
import io
import sys
from pathlib import Path

from chest_radiograph_inference_client import AuthenticatedClient
from chest_radiograph_inference_client.api.health import live
from chest_radiograph_inference_client.api.inference import explain, predict, render
from chest_radiograph_inference_client.api.models import describe_model, list_models
from chest_radiograph_inference_client.api.open_inference_protocol import infer, model_metadata
from chest_radiograph_inference_client.models import (
    Decision,
    ExplainAnswer,
    ExplainMethod,
    ImageError,
    ImageResult,
    ImagesForm,
    ImagesRequest,
    InferAnswer,
    InferRequest,
    InputTensor,
    JsonImage,
    ModelAnswer,
    ModelMetadata,
    ModelsAnswer,
    PredictAnswer,
    Problem,
    RenderAnswer,
    StatusAnswer,
)
from chest_radiograph_inference_client.types import File
from httpx import Timeout

client = AuthenticatedClient(sys.argv[1], token="cxr_not_needed_here", timeout=Timeout(60))
jpeg = Path("chest.jpeg").read_bytes()
text = base64.b64encode(jpeg).decode()
broken = base64.b64encode(jpeg[: len(jpeg) // 2]).decode()

raw = predict.sync(client=client, body=File(io.BytesIO(jpeg)))
form = ImagesForm(files=[File(io.BytesIO(jpeg), "a.jpeg", "image/jpeg")] * 2)
parts = predict.sync(client=client, body=form)
both = ImagesRequest(images=[JsonImage(data=text, id="good"), JsonImage(data=broken, id="bad")])
mixed = predict.sync(client=client, body=both, operating_point="screening")
assert isinstance(raw, PredictAnswer) and isinstance(parts, PredictAnswer)
assert isinstance(mixed, PredictAnswer)
(one,) = raw.results
assert isinstance(one, ImageResult) and isinstance(one.decision, Decision)
assert 0 <= one.probability <= 1 and one.probabilities["PNEUMONIA"] == one.probability
assert [part.id for part in parts.results] == ["0", "1"]
good, bad = mixed.results
assert isinstance(good, ImageResult) and good.operating_point.name == "screening"
assert isinstance(bad, ImageError) and bad.problem.type_ == "/docs/problems#unreadable-image"

method = ExplainMethod.GRADCAM
explained = explain.sync(client=client, body=File(io.BytesIO(jpeg)), method=method)
assert isinstance(explained, ExplainAnswer)
(result,) = explained.results
assert result.explanation.method == "gradcam"
assert len(result.explanation.heatmap.values) == result.explanation.heatmap.height
picture = render.sync(client=client, body=File(io.BytesIO(jpeg)), max_side=64)
assert isinstance(picture, RenderAnswer) and max(picture.width, picture.height) == 64

models = list_models.sync(client=client)
assert isinstance(models, ModelsAnswer)
name = models.models[0].name
assert isinstance(describe_model.sync(name, client=client), ModelAnswer)
unknown = predict.sync_detailed(client=client, body=File(io.BytesIO(jpeg)), model="nobody")
assert isinstance(unknown.parsed, Problem) and unknown.status_code == 404
assert unknown.parsed.type_ == "/docs/problems#unknown-model"
alive = live.sync(client=client)
assert isinstance(alive, StatusAnswer) and alive.status == "live"

assert isinstance(model_metadata.sync(name, client=client), ModelMetadata)
tensor = InputTensor(name="image_bytes", shape=[1], datatype="BYTES", data=[text])
inferred = infer.sync(name, client=client, body=InferRequest(inputs=[tensor]))
assert isinstance(inferred, InferAnswer) and inferred.model_name == name
"""

WITH_MODELS = """
import sys
from pathlib import Path

import httpx

from schemas import AnyResult, Decision, ExplainAnswer, ImageError, ImageResult, ModelsAnswer
from schemas import PredictAnswer, Problem

jpeg = Path("chest.jpeg").read_bytes()
with httpx.Client(base_url=sys.argv[1], timeout=60) as client:
    answer = PredictAnswer.model_validate(client.post("/v1/predict", content=jpeg).json())
    (one,) = answer.results
    assert isinstance(one, AnyResult) and isinstance(one.root, ImageResult)
    assert isinstance(one.root.decision, Decision)
    query = {"method": "gradcam"}
    explained = ExplainAnswer.model_validate(
        client.post("/v1/explain", params=query, content=jpeg).json()
    )
    assert explained.results[0].explanation.target == "PNEUMONIA"
    models = ModelsAnswer.model_validate(client.get("/v1/models").json())
    assert [model.name for model in models.models if model.default] == [answer.model.name]
    refused = client.post("/v1/predict", params={"model": "nobody"}, content=jpeg)
    problem = Problem.model_validate(refused.json())
    assert (problem.status, problem.type) == (404, "/docs/problems#unknown-model")
    assert not issubclass(Problem, ImageError)
"""


def run(folder: Path, program: str, *arguments: str) -> str:
    """Run one of the environment's programs and give all it says."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the generators call ruff
    finished = subprocess.run(
        [str(BIN / program), *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": "client", "MYPYPATH": "client"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-4000:]
    return finished.stdout


IMPORT_ALL = """
import importlib
import pkgutil

for found in pkgutil.walk_packages(["client"]):
    importlib.import_module(found.name)
"""


def use(folder: Path, script: str, address: str) -> None:
    """Import all there is, check the types of what a user would write, and run it."""
    run(folder, "python", "-W", "error", "-c", IMPORT_ALL)
    (folder / "chest.jpeg").write_bytes(encode_jpeg(draw_phantom(0, 0.5)))
    (folder / "use.py").write_text(script)
    run(folder, "mypy", "--strict", "--no-incremental", "use.py")
    run(folder, "python", "-W", "error", "use.py", address)


def test_openapi_python_client(tmp_path: Path, live: LiveServer) -> None:
    """A whole client: bytes, form and JSON in; typed answers, problems and pictures out."""
    said = run(
        tmp_path,
        "openapi-python-client",
        *("generate", "--path", str(DOCUMENT), "--output-path", "client"),
    )
    assert said.strip() == "Generating client"
    use(tmp_path, WITH_CLIENT, live.address)


def test_datamodel_code_generator(tmp_path: Path, live: LiveServer) -> None:
    """Models alone, for whoever sends requests by other means."""
    (tmp_path / "client").mkdir()
    said = run(
        tmp_path,
        "datamodel-codegen",
        *("--input", str(DOCUMENT), "--input-file-type", "openapi"),
        *("--output", "client/schemas.py", "--output-model-type", "pydantic_v2.BaseModel"),
        *("--formatters", "builtin"),  # it warns of its default, which is to become this
    )
    assert said == ""
    use(tmp_path, WITH_MODELS, live.address)
