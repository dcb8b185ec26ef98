"""The graph that explains without PyTorch, and the weights it shares with the bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from cxr.bundles.bundle import open_bundle
from cxr.bundles.manifest import EXPLAIN_OUTPUTS, Tensors
from cxr.errors import BundleError
from cxr.explain.weighing import Heatmaps
from cxr.files import sha256_of_file
from cxr.networks import build_network
from cxr.networks.network import Network
from cxr.networks.served import ExplainedOutputs, ServedNetwork, served_network
from cxr.networks.svm import Machines, Svm
from export import build
from export.__main__ import main
from export.engines import OrtExplainer, open_session
from export.explanation import verify_explain_graph, write_explain_graph
from export.shared_weights import share_weights
from tests.cxr.test_ensemble import make_ensemble
from tests.cxr.test_grad_cam import SIZE_PX, make_images, make_served

TENSORS = Tensors(embedding_size=1)

MOST_OWN_BYTES = 100_000
"""Of a graph without its weights; those of ResNet-18 take 22 million."""


def export_to(folder: Path, served: ServedNetwork, images: NDArray[np.uint8]) -> Path | None:
    """Write weights and graph, as into a bundle."""
    tensors = {k: v.numpy() for k, v in served.network.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    return write_explain_graph(folder, served, SIZE_PX, TENSORS, images)


@pytest.mark.parametrize("name", ["resnet18", "small_cnn", "resnet18-ternary"])
def test_bundle_has_its_weights_once(name: str, shipped_bundles: Path) -> None:
    """The graph has no learnt number of its own, and is listed with its digest."""
    bundle = open_bundle(shipped_bundles / name)
    assert bundle.explain_path == bundle.path / "explain.onnx"
    assert bundle.explain_path.stat().st_size < MOST_OWN_BYTES
    model = onnx.load(bundle.explain_path, load_external_data=False)
    assert [output.name for output in model.graph.output] == list(EXPLAIN_OUTPUTS)
    external = [one for one in model.graph.initializer if one.external_data]
    served = served_network(bundle.weights_path, bundle.manifest)
    learnt = {f"network.{name}" for name, _ in served.network.named_parameters()}
    assert learnt <= {one.name.removesuffix(".half") for one in external}
    assert {one.data_type for one in external} == {TensorProto.FLOAT, TensorProto.FLOAT16}
    assert {one.external_data[0].value for one in external} == {"weights.safetensors"}


def test_outputs_have_the_names_of_the_networks() -> None:
    """In its order: the exporter names them by position."""
    assert ExplainedOutputs._fields == EXPLAIN_OUTPUTS


@pytest.mark.parametrize(
    ("architecture", "mirror"),
    [
        ("resnet18", True),
        ("small_cnn", False),
        ("small_cnn", True),
        ("cnn_bn", False),
        ("densenet121", False),
    ],
)
def test_graph_explains_as_pytorch(architecture: str, mirror: bool, tmp_path: Path) -> None:
    """Also with the mirrored pass, and on grids that the pooling does not divide."""
    served, images = make_served(architecture, mirror=mirror), make_images()
    graph = export_to(tmp_path, served, images)
    assert graph is not None
    explainer = OrtExplainer(graph, TENSORS)
    verify_explain_graph(served, explainer, images)


def test_graph_of_an_ensemble_explains_as_pytorch(tmp_path: Path) -> None:
    """Members of other normalisations, temperatures and grids, one of them mirrored."""
    network = make_ensemble("small_cnn-mirrored+resnet18", (True, False))
    served, images = ServedNetwork(network, 0.0, 1.0, 1.3, mirror=False).eval(), make_images()
    graph = export_to(tmp_path, served, images)
    assert graph is not None
    verify_explain_graph(served, OrtExplainer(graph, TENSORS), images)


class Unlike(Network):
    """A network whose inherited closed form is not its own: the embedding is no mean."""

    classifier = "fc"

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(1, 2)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images."""
        return images

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return mean squares."""
        return (features**2).mean(dim=(2, 3))

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.fc(embedding)


@pytest.mark.parametrize("network", [build_network("small_cnn-svm_rbf", 2), Unlike()])
def test_network_without_closed_form_has_no_graph(network: Network, tmp_path: Path) -> None:
    """Whether it says so or its closed form is wrong."""
    served = ServedNetwork(network, 0.5, 0.25, 1.0, mirror=False).eval()
    if isinstance(network, Svm):
        network.adopt(
            Machines(
                *(torch.zeros(shape) for shape in ((128,), (128,), (3, 128), (1, 3), (1,), ()))
            )
        )
    assert export_to(tmp_path, served, make_images()) is None
    assert not (tmp_path / "explain.onnx").exists()


def test_bundle_is_built_without_the_graph(
    smoke_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The builder is told; the bundle is whole and says that it has none."""
    monkeypatch.setattr(build, "write_explain_graph", lambda *_: None)
    assert main(["build", "--run", str(smoke_run), "--out", str(tmp_path)]) == 0
    assert "without explain.onnx" in capsys.readouterr().err
    assert open_bundle(tmp_path / "smoke").explain_path is None
    assert main(["verify", "--bundle", str(tmp_path / "smoke")]) == 0


@pytest.mark.parametrize("part", ["logits", "embedding", "values"])
@pytest.mark.parametrize("offset", [0.01, float("nan")])
def test_disagreement_fails_the_build(part: str, offset: float, smoke_bundle: Path) -> None:
    """A graph that explains otherwise, or with what is not a number."""
    bundle = open_bundle(smoke_bundle)
    assert bundle.explain_path is not None
    right = OrtExplainer(bundle.explain_path, bundle.manifest.tensors)

    class Wrong:
        def explain(self, *arguments: Any) -> Heatmaps:
            found = right.explain(*arguments)
            return replace(found, **{part: getattr(found, part) + np.float32(offset)})

    served = served_network(bundle.weights_path, bundle.manifest)
    images = bundle.golden_tensors().images
    verify_explain_graph(served, right, images)
    with pytest.raises(BundleError, match=r"PyTorch and explain\.onnx disagree"):
        verify_explain_graph(served, Wrong(), images)


def test_verify_finds_wrong_gradients_under_valid_digests(
    smoke_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heatmaps are replayed, not only answers."""
    path = Path(shutil.copytree(smoke_bundle, tmp_path / "smoke"))
    graph = path / "explain.onnx"
    model = onnx.load(graph, load_external_data=False)
    [through_relu] = [node for node in model.graph.node if node.op_type == "Greater"]
    through_relu.op_type = "Less"
    onnx.save_model(model, graph)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["explain.onnx"] = sha256_of_file(graph)
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", "--bundle", str(path)]) == 1
    assert "heatmaps differ" in capsys.readouterr().err


def test_only_equal_weights_are_shared(tmp_path: Path) -> None:
    """Those of another value, name or format stay in the graph; all are read back."""
    values = {
        "whole": np.array([1.0, 2.0], dtype=np.float32),
        "half": np.array([3.0, 4.0], dtype=np.float32),
        "changed": np.array([5.0, 6.0], dtype=np.float32),
        "unknown": np.array([7.0, 8.0], dtype=np.float32),
        "rounded": np.array([0.1, 0.2], dtype=np.float32),
    }
    stored = values | {"half": values["half"].astype(np.float16), "changed": values["changed"] + 1}
    stored["rounded"] = values["rounded"].astype(np.float16)
    del stored["unknown"]
    save_file(stored, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    shared = share_weights(make_sum(values), "network.", tmp_path / "weights.safetensors")
    names = {one.name for one in shared.graph.initializer if one.external_data}
    assert names == {"network.whole", "network.half.half"}
    onnx.save_model(shared, tmp_path / "sum.onnx")
    [answer] = open_session(tmp_path / "sum.onnx").run(None, {"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(answer, np.sum(list(values.values()), axis=0))


def make_sum(values: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Make a graph that adds its weights to its input."""
    weights = [numpy_helper.from_array(v, f"network.{name}") for name, v in values.items()]
    node = helper.make_node("Sum", ["x", *(one.name for one in weights)], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([node], "sum", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
