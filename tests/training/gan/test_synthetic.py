"""Made images: written, listed, and taken into the train part alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxr.bundles.manifest import Provenance
from cxr.data.dataset import etiology_of, patient_of
from cxr.data.labels import PNEUMONIA, TERNARY
from cxr.data.split import SPLIT_NAME, SplitRow, list_pool, read_split_file
from cxr.errors import OutputError, RunError
from cxr.images.decoding import Preprocessing
from cxr.networks import build_network
from tests.training.gan.conftest import CPU
from training.data.samples import Samples
from training.data.synthetic import load_synthetic, verify_unseen
from training.distributed import World
from training.experiments.gan.synthesize import synthesize
from training.fit.statistics import normalisation_of
from training.fit.trainer import Trainer
from training.recipe import load_recipe
from training.runs.finish import restore_prior
from training.runs.job import TrainingJob
from training.runs.train import run_training

EACH = 5


@pytest.fixture(scope="module")
def made(tiny_gan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of every class."""
    return synthesize(tiny_gan, tmp_path_factory.mktemp("made") / "set", EACH, 3, CPU)


def test_made_images_are_a_data_set(made: Path) -> None:
    """The lister finds label and patient; every image is a patient that no real one can be."""
    images = list_pool(made, TERNARY)
    assert {name: sum(i.label == name for i in images) for name in TERNARY.classes} == {
        "NORMAL": EACH,
        "BACTERIAL": EACH,
        "VIRAL": EACH,
    }
    assert len({image.patient for image in images}) == 3 * EACH
    assert all(image.patient.startswith("synthetic") for image in images)
    of_two = [image.label for image in list_pool(made, PNEUMONIA)]
    assert of_two.count("PNEUMONIA") == 2 * EACH


@pytest.mark.parametrize(
    ("name", "patient", "etiology"),
    [
        ("synthetic7_bacteria_2.jpeg", "synthetic7", "BACTERIAL"),
        ("synthetic8_virus_1.jpeg", "synthetic8", "VIRAL"),
        ("synthetic9_normal_1.jpeg", "synthetic9", None),
        ("person7_bacteria_2.jpeg", "person7", "BACTERIAL"),
    ],
)
def test_names_tell_patient_and_etiology(name: str, patient: str, etiology: str | None) -> None:
    """Made ones as real ones."""
    assert (patient_of(name), etiology_of(name)) == (patient, etiology)


def test_the_same_seed_gives_the_same_images(made: Path, tiny_gan: Path, tmp_path: Path) -> None:
    """Byte for byte; another seed gives others; another folder's content is left alone."""
    name = "train/PNEUMONIA/synthetic6_bacteria_1.jpeg"
    again = synthesize(tiny_gan, tmp_path / "again", EACH, 3, CPU)
    other = synthesize(tiny_gan, tmp_path / "other", EACH, 4, CPU)
    assert (made / name).read_bytes() == (again / name).read_bytes()
    assert (made / name).read_bytes() != (other / name).read_bytes()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(OutputError):
        synthesize(tiny_gan, tmp_path / "mine", EACH, 3, CPU)


def test_a_generator_that_has_seen_what_is_held_out_is_refused(made: Path, tmp_path: Path) -> None:
    """By image or by patient; so is a folder of unknown origin."""
    rows = read_split_file(made / SPLIT_NAME)
    spec = Preprocessing(size_px=32, min_side_px=16)
    loaded = load_synthetic(made, spec, TERNARY, rows, quiet=True)
    assert all(str(name).startswith("synthetic/") for name in loaded.names)
    learnt = next(row for row in rows if row.part == "train")
    for moved in (
        SplitRow(learnt.name, learnt.label, "someone", "test"),
        SplitRow("train/NORMAL/another.jpeg", learnt.label, learnt.patient, "val"),
    ):
        with pytest.raises(RunError, match="holds out"):
            verify_unseen(rows, [moved])
    verify_unseen(rows, [SplitRow("test/NORMAL/1.jpeg", learnt.label, learnt.patient, "test")])
    with pytest.raises(RunError, match=r"synthetic\.json"):
        load_synthetic(tmp_path, spec, TERNARY, rows)


def test_made_images_join_the_train_part_alone(
    made: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that validates, calibrates, tests, or counts classes sees them; they are recorded."""
    seen: dict[str, object] = {}

    class Idle(Trainer):
        def run(self) -> None:
            seen["trainer"] = self

    def note(job: object, task: object, spec: object, trainer: object, *rest: object) -> None:
        seen["parts"], seen["rows"], seen["provenance"] = rest

    monkeypatch.setattr("training.runs.train.Trainer", Idle)
    monkeypatch.setattr("training.runs.train.write_run", note)
    recipe = load_recipe("smoke").model_copy(
        update={"task": "ternary", "size_px": 32, "min_side_px": 16}
    )
    split = made / SPLIT_NAME
    out = tmp_path / "run"
    job = TrainingJob(
        *(recipe, tiny_data, out, "none", CPU, World(), split), synthetic=made, quiet=True
    )
    run_training(job)
    trainer, parts, provenance = seen["trainer"], seen["parts"], seen["provenance"]
    assert isinstance(trainer, Idle)
    assert isinstance(parts, dict)
    assert isinstance(provenance, Provenance)
    held = [str(name) for samples in parts.values() for name in samples.names]
    assert not [name for name in held if "synthetic" in name]
    learnt = [str(name) for name in trainer.train.names if "synthetic" in str(name)]
    assert len(learnt) == 3 * EACH
    assert len(trainer.train) == len(parts["train"]) + 3 * EACH
    assert not [name for name in map(str, trainer.val.names) if "synthetic" in name]
    assert trainer.normalisation == normalisation_of(parts["train"])
    assert provenance.images["train"] == len(parts["train"])
    assert provenance.synthetic is not None
    assert provenance.synthetic.images == dict.fromkeys(TERNARY.classes, EACH)


def test_the_prior_stays_that_of_the_real_images() -> None:
    """Learnt at odds of 3 to 2, three real positives to a real negative double the odds."""
    names = np.array(["a", "b", "c", "d"])
    real = Samples(
        np.zeros((4, 1, 2, 2), np.uint8), np.array([0, 1, 1, 1]), names, names, names, names
    )
    network = build_network("small_cnn", 2)
    before = network.get_submodule(network.classifier).bias.detach().clone()
    restore_prior(network, real, PNEUMONIA, {"NORMAL": 1, "PNEUMONIA": 0})
    moved = network.get_submodule(network.classifier).bias.detach() - before
    assert float(moved.diff()) == pytest.approx(np.log(2.0), abs=1e-5)
