"""What every recipe has to do, from its network to an answer of the service.

Recipes are found by their files: one that is added is tested without a word here. Networks are
what the recipes say, images and data are tiny, and each phase takes one step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import open_run
from cxr.data.labels import task_named
from cxr.metrics.classes import measure_task
from cxr.networks import build_network
from cxr.networks.network import Network
from cxr.networks.served import served_network
from export.build import build_bundle
from export.phantom import draw_phantom, encode_jpeg
from service.engines.registry import build_engine
from service.explain.torch_explainer import build_torch_explainer
from tests.service.conftest import make_settings
from tests.service.harness import running
from training.device import choose_compute
from training.distributed import World
from training.fit.phases import let_learn
from training.recipe import Phase, Recipe, load_recipe, recipe_names
from training.reliability import limits, scope_fit
from training.runs import finish
from training.runs.job import TrainingJob
from training.runs.train import run_training

SIZE_PX = 64
IMAGES = 4
PATIENTS = 12
"""Of each class. Twelve leave two to validation, two to the test and eight to learn from."""

PHASES = [
    pytest.param(name, number, id=f"{name}-{phase.name}")
    for name in recipe_names()
    for number, phase in enumerate(load_recipe(name).phases)
]


@cache
def _fresh(architecture: str, num_classes: int) -> Network:
    torch.manual_seed(0)
    network = build_network(architecture, num_classes)
    with torch.no_grad():
        network.train()(torch.randn(8, 1, SIZE_PX, SIZE_PX))  # batch norms get statistics
    return network.eval()


def make_network(recipe: Recipe) -> Network:
    """Give a fresh network of a recipe with lived-in batch norms, in evaluation mode."""
    return copy.deepcopy(_fresh(recipe.architecture, len(task_named(recipe.task).classes)))


def make_images() -> torch.Tensor:
    return torch.randn(IMAGES, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", recipe_names())
def test_outputs_are_finite_and_do_not_depend_on_the_batch(name: str) -> None:
    """Maps, embedding and logits fit together; an image alone gets what it gets among others."""
    network, images = make_network(load_recipe(name)), make_images()
    with torch.inference_mode():
        maps = network.features(images)
        embedding = network.embed(maps)
        logits = network.classify(embedding)
        alone = torch.cat([network(image[None]) for image in images])
    assert maps.ndim == 4
    assert embedding.shape[0] == IMAGES
    assert embedding.ndim == 2
    assert logits.shape == (IMAGES, len(task_named(load_recipe(name).task).classes))
    assert maps.isfinite().all()
    assert logits.isfinite().all()
    assert logits.std(dim=0).min() > 0, "every image gets the same answer"
    torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-3)


def layer_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def layers_that_learn(network: Network, phase: Phase) -> set[str]:
    """Read off the names of the parameters which layers a phase is to train."""
    layers = list(dict.fromkeys(layer_of(key) for key, _ in network.named_parameters()))
    if phase.last_layers is not None:
        return set(layers[-phase.last_layers :])
    if "all" in phase.stages:
        return set(layers)
    return {
        layer for layer in layers if f"{layer}.".startswith(tuple(f"{s}." for s in phase.stages))
    }


@pytest.mark.parametrize(("name", "number"), PHASES)
def test_phase_trains_its_part_and_nothing_else(name: str, number: int) -> None:
    """What learns gets a gradient; what is frozen gets none and keeps its statistics."""
    recipe = load_recipe(name)
    network = make_network(recipe).train()
    let_learn(network, recipe.phases[number])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(make_images()).logsumexp(dim=1).sum().backward()
    layers = layers_that_learn(network, recipe.phases[number])
    for key, value in network.named_parameters():
        if layer_of(key) in layers:
            assert value.grad is not None, key
            assert value.grad.isfinite().all(), key
            assert value.grad.any(), key
        else:
            assert value.grad is None, key
    changed = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    assert set(map(layer_of, changed)) <= layers
    assert network.classifier in layers


@pytest.mark.parametrize("name", recipe_names())
def test_explain_layer_gives_the_maps(name: str) -> None:
    """The layer that a bundle names is the one whose maps are weighed."""
    network, seen = make_network(load_recipe(name)), []
    layer = network.get_submodule(network.explain_layer)

    def keep(_: nn.Module, __: object, output: torch.Tensor) -> None:
        seen.append(output)

    layer.register_forward_hook(keep)
    with torch.inference_mode():
        maps = network.features(make_images())
    assert [given.equal(maps) for given in seen] == [True]
    assert maps.shape[2] > 1, "a map of one position shows no place"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn radiographs that every task finds its classes in."""
    root = tmp_path_factory.mktemp("contract") / "chest_xray"  # whose population recipes know
    for i in range(PATIENTS):
        files = {
            f"train/NORMAL/IM-{i:04d}-0001.jpeg": 0.0,
            f"train/PNEUMONIA/person{i}_bacteria_1.jpeg": 1.0,
            f"train/PNEUMONIA/person{PATIENTS + i}_virus_1.jpeg": 0.5,
        }
        for number, (path, opacity) in enumerate(files.items()):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            image = np.ascontiguousarray(draw_phantom(10 * i + number, opacity)[::4, ::4])
            (root / path).write_bytes(encode_jpeg(image))
    return root


def reduced(recipe: Recipe) -> Recipe:
    """Give a recipe with one step of few small images in each of its phases."""
    phases = tuple(
        Phase.model_validate(phase.model_dump() | {"epochs": 1, "size_px": SIZE_PX // 2})
        for phase in recipe.phases
    )
    points = recipe.operating_points.model_copy(update={"stress_views": 0})
    small = {"size_px": SIZE_PX, "min_side_px": 32, "batch_size": 8, "mirror": False}
    more = {"init": "none", "phases": phases, "operating_points": points, "teachers": 0.0}
    split = recipe.split.model_copy(update={"val": 0.2, "test": 0.2})
    return Recipe.model_validate(recipe.model_dump() | small | more | {"split": split})


@pytest.fixture(scope="module")
def run_of(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains a recipe, once, with hardly any image and replicate where a run measures."""

    @cache
    def train(name: str) -> Path:
        out = tmp_path_factory.mktemp("contract") / name
        compute = choose_compute("cpu").exact
        job = TrainingJob(
            reduced(load_recipe(name)), data, out, "none", compute, World(), quiet=True
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finish, "measure_task", partial(measure_task, replicates=2))
            patch.setattr(scope_fit, "OUTLIERS", 6)
            patch.setattr(scope_fit, "VAL_OUTLIERS", 6)
            patch.setattr(limits, "MADE_OF_EACH", 2)
            return run_training(job)

    return train


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_trains(name: str, run_of: Callable[[str], Path]) -> None:
    """Every phase leaves its line, and the run answers with probabilities of the task's classes."""
    path, recipe = run_of(name), load_recipe(name)
    run = open_run(path)
    assert [record.phase for record in run.curves] == [phase.name for phase in recipe.phases]
    assert all(np.isfinite(record.train_loss) for record in run.curves)
    assert run.task.classes == task_named(recipe.task).classes
    images = torch.randint(0, 256, (2, 1, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    with torch.inference_mode():
        answer = served_network(path / WEIGHTS_NAME, run)(images)
    torch.testing.assert_close(answer.probabilities.sum(dim=1), torch.ones(2))


def one_of_each_kind() -> list[str]:
    """Return recipes that together have every architecture and every task."""
    kinds: set[str] = set()
    chosen = []
    for name in recipe_names():
        recipe = load_recipe(name)
        if not {recipe.architecture, recipe.task} <= kinds:
            kinds |= {recipe.architecture, recipe.task}
            chosen.append(name)
    return chosen


@pytest.mark.anyio
@pytest.mark.parametrize("name", one_of_each_kind())
async def test_recipe_leads_to_an_answer(
    name: str, run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Exported and compared with ONNX Runtime, served, explained."""
    bundle = build_bundle(run_of(name), tmp_path)
    settings = make_settings(bundle, models="", max_image_pixels=4_000_000)
    image = encode_jpeg(draw_phantom(3, 1.0))
    async with running(settings, build_engine, build_torch_explainer) as service:
        answer = await service.client.post("/v1/explain", content=image)
    assert answer.status_code == 200, answer.text
    [result] = answer.json()["results"]
    assert tuple(result["probabilities"]) == task_named(load_recipe(name).task).classes
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    heatmap = np.array(result["explanation"]["heatmap"]["values"])
    assert np.isfinite(heatmap).all()
    assert min(heatmap.shape) > 1
