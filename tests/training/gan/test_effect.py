"""What made images do to a classifier: arms, paired differences, and taking up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr.data.labels import TERNARY
from cxr.errors import DataError, RunError
from tests.training.gan.conftest import CPU
from training.data.samples import Samples
from training.experiments.gan.arms import additions, choose
from training.experiments.gan.effect import EffectJob, figures_of, measure_effect, shortened
from training.experiments.gan.effect_result import ArmResult, effect_markdown, summarise
from training.experiments.gan.synthesize import synthesize
from training.fit.trainer import Trainer
from training.recipe import Recipe, load_recipe


def make_samples(*counts: int) -> Samples:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = np.array([f"{i}" for i in range(len(labels))])
    return Samples(np.zeros((len(labels), 1, 2, 2), np.uint8), labels, names, names, names, names)


def make_result(arm: str, seed: int, accuracy: float) -> ArmResult:
    return ArmResult(
        identity="0",
        arm=arm,
        seed=seed,
        real_images=9,
        made_images={},
        steps=1,
        seconds=1.0,
        figures={"accuracy": accuracy},
    )


@pytest.fixture(scope="module")
def classifier() -> Recipe:
    """One epoch of the smoke recipe."""
    recipe = load_recipe("smoke")
    phases = (recipe.phases[1].model_copy(update={"epochs": 1}),)
    changes = {"task": "ternary", "size_px": 32, "min_side_px": 16, "phases": phases}
    return recipe.model_copy(update=changes)


def test_arms_add_what_they_are_called_after() -> None:
    """Evenly, or to the smallest class up to the largest, or to the class that is named."""
    made = make_samples(6, 6, 6)
    arms = additions(make_samples(7, 10, 5), made, TERNARY, each=2)
    assert arms["real"].images == {}
    assert arms["even"].images == {"NORMAL": 2, "BACTERIAL": 2, "VIRAL": 2}
    assert arms["minority"].images == {"VIRAL": 5}
    chosen = choose(made, arms["minority"], TERNARY, seed=0)
    assert chosen is not None
    assert chosen.labels.tolist() == [2] * 5
    assert len(set(chosen.names)) == 5
    assert choose(made, arms["real"], TERNARY, seed=0) is None
    named = additions(make_samples(7, 10, 5), made, TERNARY, each=2, minority="NORMAL")
    assert named["minority"].images == {"NORMAL": 3}


def test_too_few_made_images_are_told() -> None:
    """With the command that makes more."""
    with pytest.raises(DataError, match="synthesize --n 5"):
        additions(make_samples(7, 10, 5), make_samples(4, 4, 4), TERNARY, each=2)


def test_more_images_do_not_mean_more_steps() -> None:
    """Half as many again: two thirds of the epochs."""
    recipe = load_recipe("small_cnn")
    assert [phase.epochs for phase in shortened(recipe, 1000, 500).phases] == [7, 9]
    assert shortened(recipe, 1000, 0) == recipe


def test_differences_are_paired_by_seed() -> None:
    """Both seeds gain 0.1, so the difference has no spread though the accuracy has."""
    results = [
        make_result(arm, seed, accuracy + gain)
        for arm, gain in (("real", 0.0), ("even", 0.1), ("minority", -0.2))
        for seed, accuracy in ((0, 0.6), (1, 0.8))
    ]
    arms = summarise(results)
    assert arms["even"].figures["accuracy"].mean == pytest.approx(0.8)
    assert arms["even"].figures["accuracy"].standard_deviation == pytest.approx(0.1414, abs=1e-4)
    assert arms["even"].differences["accuracy"].mean == pytest.approx(0.1)
    assert arms["even"].differences["accuracy"].standard_deviation == pytest.approx(0.0)
    assert arms["minority"].differences["accuracy"].mean == pytest.approx(-0.2)
    assert arms["real"].differences == {}


def test_figures_are_those_of_the_most_probable_class() -> None:
    """Three of four right; both of the first class, one of two of the second."""
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    task = replace(TERNARY, classes=("NORMAL", "BACTERIAL"), positives=("BACTERIAL",))
    found = figures_of(np.array([0, 0, 1, 1]), probabilities, task)
    assert found == {
        "accuracy": 0.75,
        "macro AUROC": 0.75,
        "recall NORMAL": 1.0,
        "recall BACTERIAL": 0.5,
    }


def test_what_is_done_is_not_done_again(
    tiny_gan: Path,
    tiny_data: Path,
    classifier: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after two trainings, the third is all that is left; other images are refused."""
    made = synthesize(tiny_gan, tmp_path / "made", 4, 0, CPU)
    job = EffectJob(
        classifier, tiny_data, made, tmp_path / "effect", CPU, seeds=(0,), each=2, quiet=True
    )
    trained: list[int] = []
    whole = Trainer.run

    def counting(self: Trainer) -> None:
        trained.append(len(self.train))
        if len(trained) == 3:
            raise KeyboardInterrupt
        whole(self)

    monkeypatch.setattr(Trainer, "run", counting)
    with pytest.raises(KeyboardInterrupt):
        measure_effect(job)
    effect = measure_effect(job)
    real = effect.results[0].real_images
    assert trained == [real, real + 6, *[trained[3]] * 2]
    assert [result.arm for result in effect.results] == ["real", "even", "minority"]
    assert json.loads((job.out / "effect.json").read_text())["task"] == "ternary"
    assert (job.out / "effect.md").read_text() == effect_markdown(effect)
    assert measure_effect(job) == effect
    assert len(trained) == 4
    with pytest.raises(RunError, match="other images"):
        measure_effect(replace(job, each=1))
