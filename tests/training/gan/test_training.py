"""The training of the AC-GAN: complete, resumable, and blind to what is held out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.data.split import SPLIT_NAME, read_split_file
from cxr.errors import RunError
from tests.training.gan.conftest import Means, make_job
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.record import open_gan
from training.experiments.gan.train import run_gan_training
from training.experiments.gan.trainer import GanTrainer


@pytest.fixture(autouse=True)
def _cheap_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.experiments.gan.train.FeatureSpace", Means)
    monkeypatch.setattr("training.experiments.gan.train.write_report", lambda *_: None)


def test_directory_is_complete_and_read_back(tiny_gan: Path) -> None:
    """Weights, curves, a sheet a class, page and split; KID was measured in every epoch."""
    files = {path.name for path in tiny_gan.iterdir()}
    assert files == {
        *("gan.json", "weights.safetensors", "discriminator.safetensors", "split.csv"),
        *("report.html", "curves.png", "neighbours.png"),
        *(f"samples-{name}.png" for name in ("NORMAL", "BACTERIAL", "VIRAL")),
    }
    run = open_gan(tiny_gan)
    assert [record.epoch for record in run.curves] == [0, 1]
    assert all(set(record.kid or {}) == set(run.task.classes) for record in run.curves)
    assert set(run.worth.memorisation) == set(run.task.classes)
    page = (tiny_gan / "report.html").read_text()
    assert "do not compare with those of an Inception network" in " ".join(page.split())


def test_resumed_training_gives_the_same_generator(
    tiny_gan: Path,
    tiny_data: Path,
    tiny_recipe: GanRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after the first epoch and taken up again: the same weights and curves."""
    whole_epoch = GanTrainer._epoch

    def stopping(self: GanTrainer, epoch: int) -> object:
        if epoch == 1:
            raise KeyboardInterrupt
        return whole_epoch(self, epoch)

    job = make_job(tiny_recipe, tiny_data, tmp_path / "resumed")
    with monkeypatch.context() as patch:
        patch.setattr(GanTrainer, "_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_gan_training(job)
    torch.manual_seed(99)
    run_gan_training(job)
    expected, found = load_file(tiny_gan / WEIGHTS_NAME), load_file(job.out / WEIGHTS_NAME)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    kept = [record.kid for record in open_gan(job.out).curves]
    assert kept == [record.kid for record in open_gan(tiny_gan).curves]


def test_checkpoint_of_another_recipe_is_refused(
    tiny_data: Path, tiny_recipe: GanRecipe, tmp_path: Path
) -> None:
    """Unless it shall be dropped."""
    one = tiny_recipe.model_copy(update={"epochs": 1})
    job = make_job(one, tiny_data, tmp_path / "gan")
    run_gan_training(job)
    with pytest.raises(RunError, match="finished"):
        run_gan_training(job)
    shutil.rmtree(job.out)
    job.work_dir.mkdir()
    torch.save({"identity": "another"}, job.work_dir / "checkpoint.pt")
    with pytest.raises(RunError, match="another recipe, data set"):
        run_gan_training(job)


def test_what_is_held_out_is_not_learnt_from(
    tiny_gan: Path,
    tiny_data: Path,
    tiny_recipe: GanRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a split: no test image is opened, and only train images reach the networks."""
    rows = read_split_file(tiny_gan / SPLIT_NAME)
    part_of = {Path(row.name).name: row.part for row in rows}
    assert set(part_of.values()) == {"train", "val", "test"}
    opened, learnt = set[str](), set[str]()
    read_bytes = Path.read_bytes

    def reading(path: Path) -> bytes:
        if path.name in part_of:
            opened.add(path.name)
        return read_bytes(path)

    batches = GanTrainer._batches

    def drawing(self: GanTrainer, *arguments: object) -> object:
        names = map(str, self.train.names)
        known = dict(zip(self.train.pixel_digests(), names, strict=True))
        for batch in batches(self, *arguments):  # type: ignore[arg-type]
            pixels = ((batch[0].numpy() + 1.0) * 127.5).round().astype(np.uint8)
            of_batch = replace(self.train, pixels=pixels)
            learnt.update(Path(known[digest]).name for digest in of_batch.pixel_digests())
            yield batch

    monkeypatch.setattr(Path, "read_bytes", reading)
    monkeypatch.setattr(GanTrainer, "_batches", drawing)
    one = tiny_recipe.model_copy(update={"epochs": 1})
    job = make_job(one, tiny_data, tmp_path / "gan", tiny_gan / SPLIT_NAME)
    run_gan_training(job)
    assert {part_of[name] for name in opened} == {"train", "val"}
    assert {part_of[name] for name in learnt} == {"train"}
    assert read_split_file(job.out / SPLIT_NAME) == rows
