"""The search: what it varies, that it goes on, prunes, and writes a recipe."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest

from cxr.bundles.run import EpochRecord
from cxr.errors import RunError
from training.__main__ import main
from training.device import choose_compute
from training.distributed import World
from training.experiments.search.learn import open_learner
from training.experiments.search.report import LEAST_FOR_IMPORTANCE, write_results
from training.experiments.search.search import RETRY_OF, SearchPlan, search
from training.experiments.search.space import load_space, recipe_toml, vary
from training.fit.trainer import AfterEpoch
from training.recipe import Recipe, load_recipe, recipe_names
from training.runs.job import TrainingJob

SPACE = """
[weight_decay]
low = 0.001
high = 0.1
log = true

["phases.all.learning_rate"]
low = 0.0001
high = 0.01
log = true
points = 2

[batch_size]
choices = [4, 8]
"""


def space_file(folder: Path, text: str = SPACE) -> Path:
    """Write a search space."""
    path = folder / "space.toml"
    path.write_text(text)
    return path


def record(epoch: int, auroc: float) -> EpochRecord:
    """Make a row of the curves."""
    return EpochRecord(
        phase="all",
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        val_loss=1.0,
        val_auroc=auroc,
        val_accuracy=auroc,
        images_per_second=1.0,
        seconds=1.0,
    )


class FakeLearner:
    """Learns in no time: as well as its rate is large. Keeps its checkpoint as training does."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.learnt: list[tuple[Recipe, int]] = []
        self.interrupt_at = interrupt_at

    def __call__(self, recipe: Recipe, work: Path, watch: AfterEpoch) -> Sequence[EpochRecord]:
        """Learn what is not learnt yet."""
        checkpoint = work / "epochs"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        self.learnt.append((recipe, done))
        rate = recipe.phases[-1].learning_rate
        curves = [record(epoch, 0.5 + rate * (epoch + 1)) for epoch in range(done)]
        for epoch in range(done, 3):
            curves.append(record(epoch, 0.5 + rate * (epoch + 1)))
            checkpoint.write_text(str(epoch + 1))
            watch(curves)
            if len(self.learnt) == self.interrupt_at and epoch == 1:
                raise KeyboardInterrupt
        return curves


def make_plan(folder: Path, **changes: object) -> SearchPlan:
    """Make a plan for the smoke recipe."""
    recipe = load_recipe("smoke")
    given: dict[str, object] = {
        "recipe": recipe,
        "space": load_space(space_file(folder), recipe),
        "trials": 6,
        "sampler": "random",
        "pruner": "none",
        "out": folder / "out",
        "figure": "val_auroc",
        "data": "d",
    }
    return SearchPlan(**(given | changes))  # type: ignore[arg-type]


def trials_of(out: Path) -> list[optuna.trial.FrozenTrial]:
    """Read the study as it lies on disk."""
    return optuna.load_study(study_name="search", storage=f"sqlite:///{out / 'search.db'}").trials


def test_best_recipe_is_written_and_can_be_trained(tmp_path: Path) -> None:
    """The one with the largest figure, as a recipe file; a table has all trials."""
    learner = FakeLearner()
    best = load_recipe(str(search(make_plan(tmp_path), learner)))
    rates = [recipe.phases[-1].learning_rate for recipe, _ in learner.learnt]
    assert best.phases[-1].learning_rate == max(rates)
    assert "Found by search" in best.notes[-1]
    assert best.phases[0] == load_recipe("smoke").phases[0]
    table = json.loads((tmp_path / "out" / "search.json").read_text())
    assert len(table["trials"]) == 6
    assert table["trials"][table["best"]]["values"]["phases.all.learning_rate"] == max(rates)
    assert table["importance"] == {}, "six trials say nothing about it"
    assert (tmp_path / "out" / "search.md").read_text().count("| complete |") == 6
    assert not any((tmp_path / "out" / "trials").iterdir()), "checkpoints are gone"


def test_field_that_decides_is_the_important_one(tmp_path: Path) -> None:
    """Of enough trials."""
    study = optuna.create_study(direction="maximize")
    rng = random.Random(0)
    distribution = optuna.distributions.FloatDistribution(0.0, 1.0)
    for _ in range(LEAST_FOR_IMPORTANCE):
        params = {"rate": rng.random(), "decay": rng.random()}
        trial = optuna.trial.create_trial(
            params=params,
            distributions=dict.fromkeys(params, distribution),
            value=params["rate"] + 0.01 * params["decay"],
        )
        study.add_trial(trial)
    importance = write_results(study, "val_auroc", tmp_path).importance
    assert importance["rate"] > importance["decay"]
    assert "Importance: rate" in (tmp_path / "search.md").read_text()


def test_interrupted_search_goes_on(tmp_path: Path) -> None:
    """The stopped trial is marked as failed and tried again, from its checkpoint."""
    plan = make_plan(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search(plan, FakeLearner(interrupt_at=3))
    stopped = trials_of(plan.out)[2]
    again = FakeLearner()
    search(plan, again)
    trials = trials_of(plan.out)
    assert trials[2].state.name == "FAIL"
    assert trials[3].user_attrs[RETRY_OF] == 2
    assert trials[3].params == stopped.params
    assert [done for _, done in again.learnt] == [2, 0, 0, 0]
    assert [t.state.name for t in trials].count("COMPLETE") == 6
    assert len({t.params["weight_decay"] for t in trials}) == 6, "nothing is drawn twice"
    search(plan, FakeLearner(interrupt_at=1))  # nothing is left to do


def test_killed_trial_is_tried_again(tmp_path: Path) -> None:
    """A process that was killed leaves a trial that seems to run."""
    plan = make_plan(tmp_path, trials=1)
    search(plan, FakeLearner())
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{plan.out / 'search.db'}")
    trial = study.ask()
    for field, kind in plan.space.items():
        kind.suggest(trial, field)
    search(make_plan(tmp_path, trials=2), FakeLearner())
    assert [t.state.name for t in trials_of(plan.out)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials_of(plan.out)[2].params == trial.params


def test_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    """After four whole trials one below their median is stopped early."""
    plan = make_plan(tmp_path, trials=16, pruner="median")
    search(plan, FakeLearner())
    trials = trials_of(plan.out)
    pruned = [t for t in trials if t.state.name == "PRUNED"]
    assert pruned
    assert all(t.number >= 4 and len(t.intermediate_values) == 2 for t in pruned)
    assert len(trials) == 16, "pruned ones are finished, too"


def test_grid_takes_every_point_once(tmp_path: Path) -> None:
    """Three decays, two rates, two batch sizes; more trials than points change nothing."""
    learner = FakeLearner()
    search(make_plan(tmp_path, sampler="grid", trials=50), learner)
    seen = {(r.weight_decay, r.phases[-1].learning_rate, r.batch_size) for r, _ in learner.learnt}
    assert len(seen) == len(learner.learnt) == 12


def test_recipe_that_cannot_be_trained_is_passed_over(tmp_path: Path) -> None:
    """The other trials go on, and it is not tried again."""
    calls = []

    def refuse_large(recipe: Recipe, work: Path, watch: AfterEpoch) -> Sequence[EpochRecord]:
        calls.append(recipe.batch_size)
        if recipe.batch_size == 8:
            raise RunError("too large")
        return FakeLearner()(recipe, work, watch)

    search(make_plan(tmp_path, sampler="grid", trials=12), refuse_large)
    assert (calls.count(4), calls.count(8)) == (6, 6)
    search(make_plan(tmp_path, sampler="grid", trials=12), refuse_large)
    assert len(calls) == 12


@pytest.mark.parametrize("changes", [{"data": "other"}, {"sampler": "tpe"}])
def test_other_search_in_the_folder_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """Its trials say nothing about this one."""
    search(make_plan(tmp_path, trials=1), FakeLearner())
    with pytest.raises(RunError, match="holds a search of another"):
        search(make_plan(tmp_path, **changes), FakeLearner())


def test_second_search_at_once_is_refused(tmp_path: Path) -> None:
    """It would take the first one's running trial for an interrupted one."""
    plan = make_plan(tmp_path, trials=1)

    def search_inside(*_: object) -> Sequence[EpochRecord]:
        with pytest.raises(RunError, match="Another search"):
            search(plan, FakeLearner())
        return [record(0, 0.5)]

    search(plan, search_inside)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[weight_dekay]\nlow = 0.1\nhigh = 0.2", "no 'weight_dekay'"),
        ('["phases.tail.epochs"]\nlow = 1\nhigh = 2', "no 'phases.tail.epochs'"),
        ("[batch_size]\nlow = 8\nhigh = 4", "low must be less"),
        ("[batch_size]\nlow = 0\nhigh = 4", "not valid at batch_size"),
        ("[size_px]\nchoices = [64, 96]", "varies size_px"),
        ("", "names no field"),
        ("[", "not valid TOML"),
    ],
)
def test_wrong_space_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    """It names the field."""
    with pytest.raises(RunError, match=says):
        load_space(space_file(tmp_path, text), load_recipe("smoke"))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_survives_being_written(name: str, tmp_path: Path) -> None:
    """Read again it is the same."""
    recipe = load_recipe(name)
    (tmp_path / "r.toml").write_text(recipe_toml(recipe))
    assert load_recipe(str(tmp_path / "r.toml")) == recipe
    assert vary(recipe, {"phases.*.epochs": 1}).phases[-1].epochs == 1


def test_real_training_is_watched_and_resumed(toy_data: Path, tmp_path: Path) -> None:
    """The trainer tells each epoch once it is saved; stopped there, it goes on behind it."""
    [_, phase] = load_recipe("smoke").phases
    recipe = load_recipe("smoke").changed(phases=[phase.model_dump() | {"size_px": 32}])
    job = TrainingJob(
        recipe, toy_data, tmp_path, "none", choose_compute("cpu"), World(), quiet=True
    )
    learner, told = open_learner(job), list[int]()

    def stop(curves: Sequence[EpochRecord]) -> None:
        told.append(len(curves))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner.learn(recipe, tmp_path, stop)
    curves = learner.learn(recipe, tmp_path, lambda c: told.append(len(c)))
    assert told == [1, 2]
    assert len(curves) == 2


def test_command_searches(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the options a user would give; the learning itself is made up."""
    fake = FakeLearner()
    monkeypatch.setattr(
        "training.experiments.search.learn.Learner.learn", lambda _, *arguments: fake(*arguments)
    )
    arguments = ["search", "--recipe", "smoke", "--space", str(space_file(tmp_path))]
    arguments += ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--trials", "2"]
    assert main([*arguments, "--sampler", "tpe", "--device", "cpu", "--quiet"]) == 0
    assert len(fake.learnt) == 2
    shutil.copy(tmp_path / "out" / "best.toml", tmp_path / "best.toml")
    assert load_recipe(str(tmp_path / "best.toml")).architecture == "small_cnn"
