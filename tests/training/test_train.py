"""The training command: runs, resumes, repeats, and in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cxr.bundles.run import open_run
from cxr.data.split import read_split_file
from cxr.errors import OutputError, RunError
from tests.conftest import REPOSITORY
from training.__main__ import main
from training.device import choose_compute
from training.distributed import World
from training.fit.trainer import Trainer
from training.recipe import load_recipe
from training.runs.job import TrainingJob
from training.runs.train import run_training


def make_job(data: Path, out: Path, **changes: object) -> TrainingJob:
    recipe = load_recipe("smoke").model_copy(update=changes)
    return TrainingJob(recipe, data, out, "none", choose_compute("cpu"), World(), quiet=True)


def test_run_is_complete_and_has_learnt(smoke_run: Path) -> None:
    """Four files; drawn opacities are told from clear lungs; curves have every epoch."""
    files = {"run.json", "weights.safetensors", "scope.safetensors", "split.csv"}
    assert {p.name for p in smoke_run.iterdir()} == files
    run = open_run(smoke_run)
    auroc = run.metrics["test"]["balanced"]["auroc"].value
    assert auroc is not None
    assert auroc > 0.9
    assert [r.phase for r in run.curves] == ["head", "all", "all"]
    assert run.provenance.images == {"train": 56, "val": 20, "test": 20}
    assert {p.name for p in run.operating_points} == {"balanced", "screening", "rule_in"}
    assert len(read_split_file(smoke_run / "split.csv")) == 96
    assert not list(smoke_run.parent.glob(".*")), "the checkpoint is gone when the run is there"


def test_same_command_gives_the_same_run(smoke_run: Path, toy_data: Path, tmp_path: Path) -> None:
    """Weights are equal bit by bit."""
    arguments = ["train", "--recipe", "smoke", "--data", str(toy_data), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "again"), "--quiet"]) == 0
    first, again = (load_file(p / "weights.safetensors") for p in (smoke_run, tmp_path / "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_interrupted_training_resumes_to_the_same_run(
    smoke_run: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second phase and taken up again, it ends with the same weights."""
    whole_epoch = Trainer._epoch

    def interrupted(self: Trainer, plan, *rest):  # type: ignore[no-untyped-def]
        if plan.index == 2:
            raise KeyboardInterrupt
        return whole_epoch(self, plan, *rest)

    monkeypatch.setattr(Trainer, "_epoch", interrupted)
    arguments = ["train", "--recipe", "smoke", "--data", str(toy_data), "--device", "cpu"]
    arguments += ["--out", str(tmp_path / "run"), "--quiet"]
    assert main(arguments) == 130
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    assert main(arguments) == 0
    first, again = (load_file(p / "weights.safetensors") for p in (smoke_run, tmp_path / "run"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_checkpoint_of_another_training_is_refused(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed recipe does not go on from the old one's checkpoint, unless told to restart."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "training.runs.train.write_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run_training(make_job(toy_data, tmp_path / "run"))
    other = make_job(toy_data, tmp_path / "run", seed=7)
    with pytest.raises(RunError, match="--restart"):
        run_training(other)
    run_training(other, restart=True)
    assert open_run(tmp_path / "run").provenance.seed == 7


def test_finished_run_is_not_overwritten(
    smoke_run: Path, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so in one line and fails."""
    arguments = ["--recipe", "smoke", "--data", str(toy_data), "--out", str(smoke_run)]
    assert main(["train", *arguments, "--quiet"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_place_of_something_else_is_refused_before_training(toy_data: Path, tmp_path: Path) -> None:
    """Nobody trains for an hour to learn that the run cannot be written there."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpeg").touch()
    with pytest.raises(OutputError, match="was left unchanged"):
        run_training(make_job(toy_data, tmp_path / "photos"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--data": "/nonexistent"}, "No folder"),
        ({"--recipe": "nope"}, "No recipe"),
        ({"--init": "/nonexistent.safetensors"}, "not a safetensors file"),
        ({"--device": "tpu"}, "Unknown device"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    changed: dict[str, str],
    message: str,
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 1 and a message that names what was wrong."""
    given = {"--recipe": "smoke", "--data": str(toy_data), "--out": str(tmp_path / "r")} | changed
    assert main(["train", *[word for pair in given.items() for word in pair], "--quiet"]) == 1
    assert message in capsys.readouterr().err


def test_cuda_without_a_device_is_refused() -> None:
    """Asking for a GPU where there is none is an error, not a slow run."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RunError, match="no CUDA device"):
        choose_compute("cuda")


def test_two_processes_train_one_network(toy_data: Path, tmp_path: Path) -> None:
    """Torchrun with two CPU processes writes one run that has learnt."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "training", "train", "--recipe", "smoke", "--data", str(toy_data)]
    command += ["--out", str(tmp_path / "run"), "--device", "cpu", "--quiet", "--threads", "1"]
    finished = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("run written to") == 1
    auroc = open_run(tmp_path / "run").metrics["test"]["balanced"]["auroc"].value
    assert auroc is not None
    assert auroc > 0.9
