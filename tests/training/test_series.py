"""Commands that train several runs: folds and the dummy class, resumable."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr.bundles.run import open_run
from cxr.data.split import read_split_file
from tests.conftest import make_kaggle_layout
from training.__main__ import main
from training.commands.dummy_class import SMALL_RECIPE
from training.experiments.dummy_class_effect import DummyExperiment
from training.fit.trainer import Trainer
from training.recipe import RECIPES_DIR, load_recipe
from training.reliability.limits import FittedLimits, find_limits
from training.runs import finish
from training.runs.series import CrossValidation, figure_of, format_figure


@pytest.fixture(scope="module", autouse=True)
def quick_finish() -> Iterator[None]:
    """Few replicates, and the limits of the first run for all: neither is this file's matter."""
    found: list[FittedLimits] = []

    def limits_of_the_first(*arguments: Any) -> FittedLimits:
        found.extend([] if found else [find_limits(*arguments)])
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        quick = functools.partial(finish.measure_task, replicates=2)
        patch.setattr(finish, "measure_task", quick)
        patch.setattr(finish, "find_limits", limits_of_the_first)
        yield


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a training of a few seconds."""
    root = tmp_path_factory.mktemp("series")
    text = (RECIPES_DIR / "smoke.toml").read_text().split("[[phases]]")[0]
    text = text.replace("size_px = 112", "size_px = 48").replace(
        "stress_views = 1", "stress_views = 0"
    )
    text += '[[phases]]\nname = "all"\nstages = ["all"]\nepochs = 1\nlearning_rate = 1e-3\n'
    (root / "tiny.toml").write_text(text)
    data = make_kaggle_layout(root / "data", patients=8)
    given = ["--recipe", str(root / "tiny.toml"), "--data", str(data), "--device", "cpu"]
    return [*given, "--threads", "1", "--quiet"]


def test_folds_are_trained_once_and_summarised(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every image is tested once; a second call trains nothing; another recipe is refused."""
    command = ["cv", *arguments, "--folds", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    result = CrossValidation.model_validate_json((tmp_path / "cross_validation.json").read_bytes())
    splits = [read_split_file(tmp_path / f"fold-{fold}" / "split.csv") for fold in range(2)]
    tested = Counter(row.name for rows in splits for row in rows if row.part == "test")
    assert set(tested.values()) == {1}
    assert len(tested) == sum(result.images) == 32
    runs = [open_run(tmp_path / f"fold-{fold}") for fold in range(2)]
    values = [run.metrics["test"]["balanced"]["auroc"].value for run in runs]
    auroc = result.points["balanced"]["auroc"]
    assert list(auroc.values) == values
    assert auroc.mean == pytest.approx(sum(v for v in values if v is not None) / 2)
    assert format_figure(auroc) in (tmp_path / "cross_validation.md").read_text()
    written = (tmp_path / "fold-0" / "run.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (tmp_path / "fold-0" / "run.json").stat().st_mtime_ns == written
    assert main([*command, "--seed", "9"]) == 1
    assert "trained by another recipe" in capsys.readouterr().err


def test_dummy_class_is_measured_against_none(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs have the real classes; the difference is seed by seed.

    A training with a dummy class that is stopped after its first pass goes on from there, and
    ends with the same weights.
    """
    command = ["dummy-class", *arguments, "--seeds", "3", "--share", "0.2", "--out", str(tmp_path)]
    assert main(command) == 0
    plain, dummy = (open_run(tmp_path / name) for name in ("without-3", "with-3"))
    assert plain.task == dummy.task
    assert dummy.recipe["dummy_class"] == {"share": 0.2}
    assert plain.weights_sha256 != dummy.weights_sha256
    assert (tmp_path / "without-3/split.csv").read_bytes() == (
        tmp_path / "with-3/split.csv"
    ).read_bytes()
    result = DummyExperiment.model_validate_json((tmp_path / "dummy_class.json").read_bytes())
    (a,), (b,) = result.without["brier"].values, result.with_dummy["brier"].values
    assert a is not None
    assert b is not None
    assert result.difference["brier"].mean == pytest.approx(b - a)
    assert "| with less without |" in (tmp_path / "dummy_class.md").read_text()

    recipe = Path(arguments[1]).with_name("dummy.toml")
    recipe.write_text(Path(arguments[1]).read_text() + "[dummy_class]\nshare = 0.2\n")
    train = ["train", *arguments, "--recipe", str(recipe), "--seed", "3"]
    train += ["--out", str(tmp_path / "again")]
    whole_run, asked = Trainer.run, list[int]()

    def stopped_at_last(self: Trainer) -> None:
        asked.append(int(self.train.labels.max()))
        if asked[-1] == 2:
            raise KeyboardInterrupt
        whole_run(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", stopped_at_last)
        assert main(train) == 130
    assert asked == [1, 1, 2], "the dummy is learnt in the last training alone"
    assert main(train) == 0
    assert (tmp_path / "again/weights.safetensors").read_bytes() == (
        tmp_path / "with-3/weights.safetensors"
    ).read_bytes()


def test_one_run_has_no_deviation_and_undefined_figures_are_left_out() -> None:
    """The deviation is a sample's: of 1 and 3 it is the square root of 2."""
    assert format_figure(figure_of([1.0, None, 3.0])) == "2.000 ± 1.414"
    assert format_figure(figure_of([0.5])) == "0.500"
    assert format_figure(figure_of([None])) == "-"


def test_default_recipe_of_the_experiment_asks_about_ambiguous_classes() -> None:
    """Without --recipe a small network learns three classes, two of which are often confused."""
    recipe = load_recipe(str(SMALL_RECIPE))
    assert recipe.task == "ternary"
    assert recipe.dummy_class is None
