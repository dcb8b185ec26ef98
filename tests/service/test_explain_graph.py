"""Explanations without PyTorch: the same heatmaps, from the graph beside the weights."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.methods import METHODS, Method
from cxr.engines.ort_options import CPU
from export.phantom import draw_phantom, encode_jpeg
from service.engines.registry import build_engine
from service.errors import NothingExplainsError, StartupError
from service.explain.building import build_explainer
from service.explain.explaining import build_verified
from service.explain.graph_explainer import GraphExplainer, build_graph_explainer
from service.explain.torch_explainer import TorchExplainer, build_torch_explainer
from service.scheduling.priority import NICENESS
from tests.conftest import REPOSITORY
from tests.service.harness import running
from tests.service.make_bundle import write_manifest
from tests.service.test_explain_torch import EXPLAIN, settings_for
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

SHIPPED = ("resnet18", "small_cnn", "resnet18-ternary")


@pytest.fixture(scope="session")
def bundle_without_graph(smoke_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as an older export wrote it."""
    path = Path(shutil.copytree(smoke_bundle, tmp_path_factory.mktemp("older") / "smoke"))
    (path / "explain.onnx").unlink()
    write_manifest(path, open_bundle(smoke_bundle).manifest.model_dump(mode="json"))
    return path


@pytest.fixture
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image without PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "service.explain.torch_explainer")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SHIPPED)
def test_heatmaps_are_those_of_pytorch(name: str, method: Method, shipped_bundles: Path) -> None:
    """For every class and on every golden image, with the same logits and embedding."""
    bundle = open_bundle(shipped_bundles / name)
    settings = settings_for(bundle.path)
    images = bundle.golden_tensors().images
    by_torch = build_torch_explainer(bundle, CPU, settings)
    by_graph = build_graph_explainer(bundle, CPU, settings)
    shown = 0
    for target in range(len(bundle.manifest.task.classes)):
        wishes = images, [target] * len(images), [method] * len(images)
        for ours, theirs in zip(by_graph.explain(*wishes), by_torch.explain(*wishes), strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
            np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-3)
            np.testing.assert_allclose(ours.heatmap, theirs.heatmap, atol=1e-3)
            if theirs.heatmap.any():
                shown += 1
                pair = ours.heatmap.ravel(), theirs.heatmap.ravel()
                assert np.corrcoef(*pair)[0, 1] >= 0.9999
    assert shown >= len(images)


async def test_explanation_over_http(smoke_bundle: Path) -> None:
    """Through the whole service, compared with the engine's answer each time."""
    file = encode_jpeg(draw_phantom(3, 1.0))
    found = {}
    for explain in ("torch", "graph"):
        settings = settings_for(smoke_bundle, explain=explain)
        async with running(settings, build_engine, build_explainer) as service:
            response = await service.client.post(EXPLAIN, content=file)
            assert response.status_code == 200, response.text
            found[explain] = response.json()["results"][0]["explanation"]
    assert found["graph"]["layer"] == "block3"
    values = [found[explain]["heatmap"]["values"] for explain in ("torch", "graph")]
    assert np.max(values[0]) > 0
    np.testing.assert_allclose(*values, atol=1e-3)


def test_each_image_has_its_own_class_and_method(smoke_bundle: Path) -> None:
    """A batch of different wishes gives what each would get alone."""
    bundle = open_bundle(smoke_bundle)
    explainer = build_graph_explainer(bundle, CPU, settings_for(smoke_bundle))
    wishes = list(product(range(2), METHODS))
    images = bundle.golden_tensors().images[-len(wishes) :]
    targets, methods = zip(*wishes, strict=True)
    together = explainer.explain(images, targets, methods)
    for i, (target, method) in enumerate(wishes):
        [alone] = explainer.explain(images[i : i + 1], [target], [method])
        np.testing.assert_allclose(together[i].heatmap, alone.heatmap, atol=1e-4)
    assert any(one.heatmap.any() for one in together)


@pytest.mark.parametrize(
    ("explain", "expected"),
    [
        ("auto", TorchExplainer),
        ("on", TorchExplainer),
        ("torch", TorchExplainer),
        ("graph", GraphExplainer),
    ],
)
def test_pytorch_explains_where_it_is_installed(
    smoke_bundle: Path, explain: str, expected: type
) -> None:
    """Unless the graph was asked for; ``on`` is the former name of ``auto``."""
    settings = settings_for(smoke_bundle, explain=explain)
    assert type(build_explainer(open_bundle(smoke_bundle), CPU, settings)) is expected


@pytest.mark.usefixtures("_no_torch")
def test_graph_explains_where_pytorch_is_not_installed(smoke_bundle: Path) -> None:
    """By itself, in float32, whatever the CPU is fast in."""
    settings = settings_for(smoke_bundle, explain_precision="auto")
    explainer = build_verified(open_bundle(smoke_bundle), CPU, settings, build_explainer)
    assert isinstance(explainer, GraphExplainer)
    assert explainer.precision == "fp32"


@pytest.mark.usefixtures("_no_torch")
@pytest.mark.parametrize(
    ("older", "changes", "says"),
    [
        (False, {"explain": "torch"}, "torch is not installed.*CXR_EXPLAIN=graph"),
        (True, {"explain": "graph"}, "no explain.onnx. Export it again.*CXR_EXPLAIN=torch or off"),
        (True, {}, "not explained: PyTorch is not installed, and the bundle has no explain.onnx"),
        (False, {"explain_precision": "bf16"}, "EXPLAIN_PRECISION=bf16 takes PyTorch"),
    ],
    ids=["PyTorch insisted on", "graph insisted on", "neither", "bf16"],
)
def test_what_is_missing_is_named(
    smoke_bundle: Path, bundle_without_graph: Path, older: bool, changes: dict[str, str], says: str
) -> None:
    """One line says what to install, to export or to set."""
    bundle = open_bundle(bundle_without_graph if older else smoke_bundle)
    with pytest.raises(StartupError, match=says) as caught:
        build_explainer(bundle, CPU, settings_for(bundle.path, **changes))
    assert isinstance(caught.value, NothingExplainsError) == (older and not changes)


def test_package_that_a_network_takes_is_named(
    smoke_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch alone is not enough for every architecture."""
    bundle = open_bundle(smoke_bundle)
    other = bundle.manifest.model_copy(update={"architecture": "vit_small"})
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "cxr.networks.vit_small", raising=False)
    changed = Bundle(bundle.path, other, bundle.sha256)
    with pytest.raises(StartupError, match="timm is not installed"):
        build_explainer(changed, CPU, settings_for(smoke_bundle))


@pytest.mark.usefixtures("_no_torch")
async def test_bundle_that_nothing_explains_still_predicts(
    bundle_without_graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning tells the operator why; clients read that explanations are disabled."""
    file = encode_jpeg(draw_phantom(3, 1.0))
    settings = settings_for(bundle_without_graph)
    with caplog.at_level(logging.WARNING, logger="cxr_service"):
        async with running(settings, build_engine, build_explainer) as service:
            assert (await service.client.post("/v1/predict", content=file)).status_code == 200
            answer = await service.client.post(EXPLAIN, content=file)
    verify_problem(answer, 501, "explain-disabled")
    assert "explanations are off" in [record.getMessage() for record in caplog.records]


def test_bundle_without_the_graph_is_explained_by_pytorch(bundle_without_graph: Path) -> None:
    """Older bundles serve as before."""
    bundle = open_bundle(bundle_without_graph)
    explainer = build_verified(bundle, CPU, settings_for(bundle.path), build_explainer)
    assert isinstance(explainer, TorchExplainer)


def test_graph_finds_its_weights_in_a_kubernetes_volume(smoke_bundle: Path, tmp_path: Path) -> None:
    """Where every file is a link into a folder beside it."""
    shutil.copytree(smoke_bundle, tmp_path / "..2026")
    (tmp_path / "..data").symlink_to("..2026")
    for entry in (tmp_path / "..2026").iterdir():
        (tmp_path / entry.name).symlink_to(Path("..data") / entry.name)
    settings = settings_for(tmp_path, explain="graph")
    assert build_verified(open_bundle(tmp_path), CPU, settings, build_explainer)


@pytest.mark.skipif(sys.platform != "linux", reason="maps are read from /proc")
def test_files_may_be_overwritten_under_a_loaded_graph(smoke_bundle: Path, tmp_path: Path) -> None:
    """No file of the bundle is mapped: cutting it in place would end the process."""
    path = Path(shutil.copytree(smoke_bundle, tmp_path / "smoke"))
    bundle = open_bundle(path)
    explainer = build_graph_explainer(bundle, CPU, settings_for(path))
    wish = bundle.golden_tensors().images[-1:], [1], ["layercam"]
    [before] = explainer.explain(*wish)
    assert str(path) not in Path("/proc/self/maps").read_text()
    for name in bundle.manifest.files:
        os.truncate(path / name, 0)
    [after] = explainer.explain(*wish)
    np.testing.assert_array_equal(after.heatmap, before.heatmap)


def test_weights_that_vanish_are_a_startup_error(smoke_bundle: Path, tmp_path: Path) -> None:
    """Between the check of their digest and the opening of the graph."""
    path = Path(shutil.copytree(smoke_bundle, tmp_path / "smoke"))
    bundle = open_bundle(path)
    bundle.weights_path.unlink()
    with pytest.raises(StartupError, match="cannot load model smoke"):
        build_graph_explainer(bundle, CPU, settings_for(path))


def test_graph_of_other_weights_is_refused_at_start(smoke_bundle: Path, tmp_path: Path) -> None:
    """The file is read where the graph points: whatever lies there has to match the goldens."""
    path = Path(shutil.copytree(smoke_bundle, tmp_path / "smoke"))
    content = bytearray((path / "weights.safetensors").read_bytes())
    middle = len(content) // 2
    content[middle:] = np.roll(np.frombuffer(content[middle:], np.uint8), 64).tobytes()
    (path / "weights.safetensors").write_bytes(content)
    write_manifest(path, open_bundle(smoke_bundle).manifest.model_dump(mode="json"))
    settings = settings_for(path, explain="graph")
    with pytest.raises(StartupError, match="do not reproduce its golden tensors"):
        build_verified(open_bundle(path), CPU, settings, build_explainer)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux only")
def test_explaining_threads_stand_back(smoke_bundle: Path) -> None:
    """Those of the session from its start, the caller's once it is prepared; no others."""

    def niceness() -> dict[int, int]:
        threads = map(int, os.listdir("/proc/self/task"))
        return {one: os.getpriority(os.PRIO_PROCESS, one) for one in threads}

    before = niceness()
    settings = settings_for(smoke_bundle, explain_threads=3)
    explainer = build_graph_explainer(open_bundle(smoke_bundle), CPU, settings)
    after = niceness()
    begun = [after[one] for one in after.keys() - before.keys()]
    assert len(begun) >= 2
    assert set(begun) == {NICENESS}
    assert {one: after[one] for one in before if one in after}.items() <= before.items()
    seen = []

    def work() -> None:
        explainer.prepare_thread()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [NICENESS]


EXPLAINING = """
import asyncio, sys
sys.modules.update(dict.fromkeys(sys.argv[2].split()))  # none of them can be found
from pathlib import Path
from export.phantom import draw_phantom, encode_jpeg
from service.app.application import build_app
from service.engines.registry import build_engine
from service.explain.building import build_explainer
from service.settings import load_settings
from tests.service.harness import running

async def main():
    settings = load_settings(bundles_dir=sys.argv[1], isolation="threads")
    async with running(settings, build_engine, build_explainer) as service:
        answer = await service.client.post("/v1/explain", content=encode_jpeg(draw_phantom(3, 1.0)))
        print(answer.status_code, sys.modules.get("torch") is None)

asyncio.run(main())
"""


def explain_in_a_process(bundle: Path, absent: str, **settings: str) -> str:
    """Give the status of an explanation where packages are absent, and whether PyTorch was."""
    variables = {f"CXR_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", EXPLAINING, str(bundle), absent],
        env=os.environ | variables | {"PYTHONPATH": "."},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("explain", "absent", "without"),
    [("graph", "", True), ("auto", "torch", True), ("auto", "", False)],
    ids=["asked for", "not installed", "installed"],
)
def test_graph_is_explained_without_loading_torch(
    smoke_bundle: Path, explain: str, absent: str, without: bool
) -> None:
    """Where PyTorch is not installed, and where it is but the graph is asked for."""
    given = explain_in_a_process(smoke_bundle, absent, explain=explain, provider="cpu")
    assert given == f"200 {without}"
