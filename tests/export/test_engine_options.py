"""Export compares what the service serves: the options of their engines are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.engines.openvino_options import HINT, HINTS
from cxr.engines.ort_options import CONFIG_ENTRIES, configure_session
from export import engines as export_engine
from export.engines import OrtRunner
from service.engines import onnxruntime as ort_engine
from service.engines.onnxruntime import open_session
from service.engines.placement import ON_CPU
from service.engines.registry import ENGINES
from service.engines.selection import Choice
from tests.service.make_bundle import make_bundle

FOR_SPEED = {"intra_op_num_threads"}
"""May differ."""


def told(options: Any) -> dict[str, str]:
    """Give every option that can be read back, and the configuration entries we know of."""
    names = [name for name in dir(options) if not name.startswith("_") and name not in FOR_SPEED]
    values = {name: getattr(options, name) for name in names}
    read = {name: str(value) for name, value in values.items() if not callable(value)}
    entries = {name: options.get_session_config_entry(name) for name in CONFIG_ENTRIES}
    return read | entries


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A small bundle, made in code."""
    return open_bundle(make_bundle(tmp_path))


def test_onnxruntime_opens_graphs_alike(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both take their options from one place, and change nothing of them."""
    opened: list[tuple[dict[str, str], list[Any]]] = []
    real = ort.InferenceSession

    def watched(path: str, options: Any, providers: list[Any], **others: Any) -> Any:
        opened.append((told(options), [providers[0][0]]))
        return real(path, options, providers=providers, **others)

    for module in (export_engine.onnxruntime, ort_engine.ort):
        monkeypatch.setattr(module, "InferenceSession", watched)
    ours = OrtRunner(bundle.model_path, bundle.manifest, threads=1)
    served = open_session(bundle, "fp32", ON_CPU)
    by_export, by_service = opened
    assert by_export == by_service
    assert by_export[0] == told(configure_session(ort.SessionOptions()))
    names = bundle.manifest.tensors
    size = bundle.manifest.preprocessing.size_px
    images = np.random.default_rng(0).integers(0, 256, (2, 1, size, size), dtype=np.uint8)
    [logits] = served.run([names.logits], {names.image: images})
    assert np.array_equal(ours.run(images).logits, logits)


def test_openvino_compiles_graphs_alike(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for threads and streams, which are there for speed."""
    openvino = pytest.importorskip("openvino")
    from export.engines import OpenVinoRunner
    from service.engines.openvino import build_openvino_engine
    from tests.service.conftest import make_settings

    asked: list[dict[str, Any]] = []
    compile_model = openvino.Core.compile_model

    def watched(core: Any, path: Path, device: str, options: dict[str, Any]) -> Any:
        asked.append({**options, "device": device})
        return compile_model(core, path, device, options)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    settings = make_settings(bundle.path, workers=1)
    OpenVinoRunner(bundle, "fp32")
    build_openvino_engine(bundle, settings, Choice(ENGINES[0], "cpu", "fp32", "a test"))
    ours, served = asked
    for options in (ours, served):
        del options["NUM_STREAMS"], options["INFERENCE_NUM_THREADS"]
    assert ours == served
    assert ours[HINT] == HINTS["fp32"]
