"""The official clients of the Open Inference Protocol work unchanged."""

from __future__ import annotations

import base64
import gc
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from export.phantom import draw_phantom, encode_dicom, encode_jpeg, encode_png
from service.answers import ImageResult
from service.client import Client
from tests.conftest import REPOSITORY
from tests.live import LiveServer, running_server
from tests.service.make_bundle import SIZE_PX, probabilities_of
from tests.service.make_images import make_png

KSERVE = REPOSITORY / ".kserve"
DOCUMENT = REPOSITORY / "docs" / "inference-protocol.md"
FILES = [make_png(90), make_png(150), make_png(170)]


@pytest.fixture(scope="module")
def server(bundles: Path) -> Iterator[LiveServer]:
    """The service as a process of its own, with two small models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EXPLAIN", "off")
        with running_server(bundles) as running:
            yield running


@pytest.fixture
def triton(server: LiveServer) -> Iterator[InferenceServerClient]:
    """NVIDIA's client."""
    with InferenceServerClient(server.address.removeprefix("http://")) as client:
        yield client
    gc.collect()


def make_bytes_input(files: list[bytes], *, binary: bool = True) -> InferInput:
    tensor = InferInput("image_bytes", [len(files)], "BYTES")
    elements = files if binary else [base64.b64encode(file) for file in files]
    tensor.set_data_from_numpy(np.array(elements, dtype=np.object_), binary_data=binary)
    return tensor


def predicted(server: LiveServer, files: list[bytes], **query: str) -> list[ImageResult]:
    """Give what /v1/predict says of the same files."""
    with Client(server.address) as client:
        results = client.predict(files, **query).results
    assert all(isinstance(result, ImageResult) for result in results)
    return [result for result in results if isinstance(result, ImageResult)]


def test_triton_learns_about_server_and_models(triton: InferenceServerClient) -> None:
    """Liveness, readiness, metadata and index are what the client expects."""
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert triton.is_model_ready("cnn")
    assert triton.is_model_ready("cnn", "1.0.0")
    assert not triton.is_model_ready("cnn", "2")
    assert not triton.is_model_ready("other")
    metadata = triton.get_model_metadata("resnet18", "1.0.0")
    assert metadata["inputs"] == [
        {"name": "image_bytes", "datatype": "BYTES", "shape": [-1]},
        {"name": "image", "datatype": "UINT8", "shape": [-1, 1, SIZE_PX, SIZE_PX]},
    ]
    assert metadata["parameters"]["classes"] == ["NORMAL", "PNEUMONIA"]
    index = {(one["name"], one["state"]) for one in triton.get_model_repository_index()}
    assert index == {("cnn", "READY"), ("resnet18", "READY")}


@pytest.mark.parametrize("binary_output", [True, False], ids=["binary-out", "json-out"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary-in", "json-in"])
def test_triton_files_answer_as_predict(
    triton: InferenceServerClient, server: LiveServer, binary: bool, binary_output: bool
) -> None:
    """Every output of several files is the one /v1/predict gives, whichever way they travel."""
    outputs = [
        InferRequestedOutput(name, binary_data=binary_output)
        for name in ("decision", "label", "probability", "probabilities", "in_scope", "reasons")
    ]
    answer = triton.infer(
        "resnet18", [make_bytes_input(FILES, binary=binary)], outputs=outputs, request_id="r-1"
    )
    expected = predicted(server, FILES, model="resnet18")
    assert answer.get_response()["id"] == "r-1"
    texts = [t.decode() if isinstance(t, bytes) else t for t in answer.as_numpy("decision")]
    assert texts == [one.decision for one in expected]
    labels = [t.decode() if isinstance(t, bytes) else t for t in answer.as_numpy("label")]
    assert labels == [one.label or "" for one in expected]
    assert answer.as_numpy("probability") == pytest.approx(
        np.array([one.probability for one in expected]), abs=1e-6
    )
    assert answer.as_numpy("probabilities")[:, 1] == pytest.approx(
        answer.as_numpy("probability"), abs=0
    )
    assert answer.as_numpy("in_scope").tolist() == [one.scope.in_scope for one in expected]
    assert answer.as_numpy("reasons").tolist() == [b"" if binary_output else ""] * 3


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_triton_model_inputs(triton: InferenceServerClient, binary: bool) -> None:
    """The graph's own input gives the graph's own outputs, all of them by default."""
    images = np.random.default_rng(1).integers(0, 256, (3, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    tensor = InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    answer = triton.infer("cnn", [tensor], model_version="1.0.0")
    outputs = answer.get_response()["outputs"]
    metadata = triton.get_model_metadata("cnn")["outputs"]
    assert [one["name"] for one in outputs] == [one["name"] for one in metadata]
    assert answer.as_numpy("probabilities") == pytest.approx(probabilities_of(images), abs=1e-6)
    assert answer.as_numpy("embedding").shape == (3, 2)


def test_triton_asks_for_an_operating_point(
    triton: InferenceServerClient, server: LiveServer
) -> None:
    """The decision is the one at the operating point of the parameters."""
    file = make_png(120)
    for point in ("balanced", "rule-out"):
        answer = triton.infer(
            "resnet18", [make_bytes_input([file])], parameters={"operating_point": point}
        )
        (expected,) = predicted(server, [file], model="resnet18", operating_point=point)
        assert answer.as_numpy("label")[0].decode() == (expected.label or "")
        assert answer.get_response()["parameters"] == {"operating_point": point}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_compresses(triton: InferenceServerClient, algorithm: str) -> None:
    """Compressed requests are read; an answer may be plain though compression was offered."""
    plain = triton.infer("cnn", [make_bytes_input(FILES)])
    packed = triton.infer(
        "cnn",
        [make_bytes_input(FILES)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert packed.as_numpy("probability").tolist() == plain.as_numpy("probability").tolist()


def test_triton_understands_errors(triton: InferenceServerClient) -> None:
    """Errors reach the caller with their status and words."""
    for model, version, files, status, words in (
        ("other", "", FILES, "404", "Unknown model"),
        ("cnn", "7", FILES, "404", "1.0.0 only"),
        ("cnn", "", [make_png(), b"junk"], "415", "Image 1: "),
        ("cnn", "", [make_png()[:-40]], "422", "Image 0: "),
        ("cnn", "", [make_png()] * 65, "413", "At most 64 images"),
    ):
        with pytest.raises(InferenceServerException, match=words) as caught:
            triton.infer(model, [make_bytes_input(files)], model_version=version)
        assert caught.value.status() == status


def test_triton_on_the_shipped_models(live: LiveServer) -> None:
    """JPEG, PNG and DICOM through the real networks answer as /v1/predict does."""
    files = [
        encode_jpeg(draw_phantom(0, 0.5)),
        encode_png(draw_phantom(1)),
        encode_dicom(draw_phantom(2, 1.0)),
    ]
    with InferenceServerClient(live.address.removeprefix("http://")) as client:
        for model in ("resnet18", "small_cnn"):
            answer = client.infer(model, [make_bytes_input(files)])
            # One at a time and together: the batch's size changes the last digits.
            expected = predicted(live, files, model=model)
            assert answer.as_numpy("probability") == pytest.approx(
                np.array([one.probability for one in expected]), abs=1e-6
            )
            decisions = [text.decode() for text in answer.as_numpy("decision")]
            assert decisions == [one.decision for one in expected]
    gc.collect()


def test_documented_example(live: LiveServer, tmp_path: Path) -> None:
    """The example of the documentation runs as it is printed."""
    (block,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    for name in ("a.jpeg", "b.jpeg"):
        (tmp_path / name).write_bytes(encode_jpeg(draw_phantom(0, 0.5)))
    code = block.replace("127.0.0.1:8000", live.address.removeprefix("http://"))
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    (line,) = finished.stdout.splitlines()
    assert len(re.findall(r"positive|negative|refer", line)) == 2


def test_documented_outputs_are_those_there_are(triton: InferenceServerClient) -> None:
    """The table of the documentation names every tensor with its datatype."""
    metadata = triton.get_model_metadata("cnn")
    told = set(re.findall(r"^\| `(\w+)` \| (\w+) ", DOCUMENT.read_text(), re.MULTILINE))
    tensors = [*metadata["inputs"], *metadata["outputs"]]
    assert told == {(one["name"], one["datatype"]) for one in tensors}


def test_kserve_client(server: LiveServer, tmp_path: Path) -> None:
    """KServe's client, in an environment of its own, answers as /v1/predict does."""
    if not (KSERVE / ".installed").is_file():
        pytest.skip("the environment with kserve is absent (make kserve)")
    paths = []
    for number, file in enumerate(FILES):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(file)
    script = REPOSITORY / "tests" / "kserve_script.py"
    finished = subprocess.run(
        [
            str(KSERVE / "bin" / "python"),
            str(script),
            server.address,
            "resnet18",
            str(SIZE_PX),
            *map(str, paths),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout.splitlines()[-1])
    assert told["live"] is told["ready"] is told["model_ready"] is True
    assert told["other_ready"] is False
    expected = predicted(server, FILES, model="resnet18")
    for way in ("files_json", "files_binary"):
        answer = told[way]
        assert answer["decision"] == [one.decision for one in expected]
        assert answer["probability"] == pytest.approx(
            [one.probability for one in expected], abs=1e-6
        )
        assert answer["in_scope"] == [one.scope.in_scope for one in expected]
    grey = np.full((2, 1, SIZE_PX, SIZE_PX), 140, dtype=np.uint8)
    for way in ("tensor_json", "tensor_binary"):
        assert told[way] == pytest.approx(probabilities_of(grey)[:, 1].tolist(), abs=1e-6)
    assert told["error"]["status"] == 415
    assert "Image 0: " in told["error"]["text"]
