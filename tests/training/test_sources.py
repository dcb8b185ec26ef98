"""Several sources: listing, splitting, drawing, leaving out, and the populations they make."""

from __future__ import annotations

import csv
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.bundles.run import open_run
from cxr.data.dataset import LabelledImage
from cxr.data.labels import PNEUMONIA
from cxr.data.split import list_pool, read_split_file
from cxr.errors import DataError, RunError
from export.phantom import draw_phantom, encode_png
from training.__main__ import main
from training.data.samples import Samples
from training.data.sources import populations_of, verify_sources, without_sources
from training.data.split import split_by_patient
from training.fit.statistics import population_chances
from training.recipe import PopulationSpec, SplitSpec, load_recipe
from training.runs.teachers import ask_teachers


def make_samples(counts: dict[tuple[str, int], int]) -> Samples:
    """So many single images of each source and label, each of a patient of its own."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    numbers = np.arange(len(pairs), dtype="<u4")
    names = np.array([f"{i:05d}" for i in numbers])
    return Samples(
        pixels=numbers.view(np.uint8).reshape(-1, 1, 2, 2),
        labels=np.array([label for _, label in pairs]),
        names=names,
        patients=names,
        sources=np.array([source for source, _ in pairs]),
        populations=np.array(["" for _ in pairs]),
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of drawn radiographs of two sources, one of them named by its synonym."""
    folder = tmp_path / "grown"
    folder.mkdir()
    rows = []
    for i in range(24):
        label = ("NORMAL", "PNEUMONIA")[i % 2]
        (folder / f"{i}.png").write_bytes(encode_png(draw_phantom(300 + i, float(i % 2))))
        rows.append({"file": f"{i}.png", "label": label, "set": ("north", "south")[i // 12]})
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "index.csv"


def test_table_is_a_data_set_beside_folders(toy_data: Path, table: Path) -> None:
    """Its images bear the folder's name, and the folders' images none more than before."""
    alone = list_pool(toy_data, PNEUMONIA)
    both = list_pool([toy_data, table], PNEUMONIA)
    assert [one.name for one in both[: len(alone)]] == [one.name for one in alone]
    added = both[len(alone) :]
    assert len(added) == 24
    assert {one.name.split("/")[0] for one in added} == {"grown"}
    assert {one.source for one in added} == {"north", "south"}
    assert {one.source for one in alone} == {toy_data.resolve().name}
    with pytest.raises(DataError, match="one name"):
        list_pool([toy_data, table, table], PNEUMONIA)


def test_every_source_has_its_share_of_each_part() -> None:
    """A source does not change how another one is divided."""
    counts = {("a", 0): 40, ("a", 1): 80, ("b", 0): 20, ("b", 1): 30, ("c", 0): 10}
    samples = make_samples(counts)
    spec = SplitSpec(val=0.1, test=0.1)
    rows = {row.name: row.part for row in split_by_patient(samples, spec, 0, PNEUMONIA)}
    parts = np.array([rows[str(name)] for name in samples.names])
    for (source, label), count in counts.items():
        of_these = parts[(samples.sources == source) & (samples.labels == label)]
        assert (of_these == "test").sum() == (of_these == "val").sum() == count // 10
    alone = samples.take(np.flatnonzero(samples.sources == "a"))
    again = {row.name: row.part for row in split_by_patient(alone, spec, 0, PNEUMONIA)}
    assert all(rows[name] == part for name, part in again.items())


def test_populations_are_drawn_equally_often() -> None:
    """Whatever their numbers; the classes in each keep their shares."""
    samples = make_samples({("a", 0): 10, ("a", 1): 90, ("b", 0): 30, ("b", 1): 20})
    population = np.where(samples.sources == "a", "children", "adults")
    samples = replace(samples, populations=population)
    chances = population_chances(samples)
    assert chances.sum() == pytest.approx(1.0)
    assert chances[population == "children"].sum() == pytest.approx(0.5)
    positive = (population == "children") & (samples.labels == 1)
    assert chances[positive].sum() == pytest.approx(0.45)


def test_population_comes_from_the_list_or_the_source() -> None:
    """What the list states counts; a source that fits no pattern is an error that names it."""
    specs = (
        PopulationSpec(name="children", who="children", source="x", sources=("chest*",)),
        PopulationSpec(name="adults", who="adults", source="y", sources=("rsna_*",)),
    )
    recipe = load_recipe("smoke").changed(populations=[one.model_dump() for one in specs])
    samples = make_samples({("chest_xray", 0): 1, ("rsna_one", 0): 1, ("elsewhere", 1): 1})
    stated = replace(samples, populations=np.array(["", "", "adults"]))
    assert list(populations_of(stated, recipe)) == ["children", "adults", "adults"]
    with pytest.raises(DataError, match=r"'elsewhere' belong to none .* children, adults"):
        populations_of(samples, recipe)


@pytest.mark.parametrize(
    ("source", "stated", "left_out", "said"),
    [
        ("chest_xray", "", (), None),
        ("elsewhere", "adults", (), None),
        ("chest_xray", "", ("chest_xray",), None),
        ("elsewhere", "", (), "'elsewhere' belong to none .* children, adults"),
        ("rsna_chest", "", (), "'rsna_chest' belong both to children and adults"),
        ("chest_xray", "Children", (), "'Children' is none of the recipe .* children, adults"),
        ("chest_xray", "", ("z",), r"'z'\. There are chest_xray"),
    ],
)
def test_lists_are_checked_before_their_images_are_read(
    source: str, stated: str, left_out: tuple[str, ...], said: str | None
) -> None:
    """The message names the recipe's populations, or the sources there are."""
    specs = (
        PopulationSpec(name="children", who="children", source="x", sources=("*chest*",)),
        PopulationSpec(name="adults", who="adults", source="y", sources=("rsna_*",)),
    )
    recipe = load_recipe("smoke").changed(populations=[one.model_dump() for one in specs])
    image = LabelledImage(Path("a.png"), "a.png", "NORMAL", "p", source, stated)
    with nullcontext() if said is None else pytest.raises(DataError, match=said):
        verify_sources([image], recipe, left_out)


@pytest.mark.parametrize(
    "changes",
    [{"name": "Adults (RSNA)"}, {"who": ""}, {"sources": ()}, {"ages_years": (120, 18)}],
)
def test_populations_of_recipes_are_those_of_bundles(changes: dict[str, Any]) -> None:
    """What no bundle takes is refused before the training, not after it."""
    given = {"name": "adults", "who": "adults", "source": "x"} | changes
    with pytest.raises(RunError, match="populations"):
        load_recipe("smoke").changed(populations=[given])


def test_populations_of_a_recipe_have_names_of_their_own() -> None:
    one = {"name": "adults", "who": "adults", "source": "x"}
    with pytest.raises(RunError, match="same name"):
        load_recipe("smoke").changed(populations=[one, one])


def test_source_left_out_is_not_learnt_from() -> None:
    samples = make_samples({("a", 0): 3, ("b", 1): 4})
    assert set(without_sources(samples, ("a",)).sources) == {"b"}
    assert len(without_sources(samples, ())) == 7
    split = replace(samples, populations=np.where(samples.sources == "a", "children", "adults"))
    for left_out, gone in ((("a", "b"), "adults"), (("a",), "children")):
        with pytest.raises(DataError, match=f"Every source of {gone}"):
            without_sources(split, left_out)


def test_training_on_two_sources(
    toy_data: Path, table: Path, smoke_run: Path, tmp_path: Path
) -> None:
    """One command: two populations, a teacher and lung guidance; each population is measured."""
    text = (Path("training/recipes/smoke.toml")).read_text()
    text = text.replace(
        'weights_dtype = "float32"',
        'weights_dtype = "float32"\nsampling = "populations"\nteachers = 0.5',
    )
    text += """
[lungs]
[[populations]]
name = "children"
who = "children"
source = "drawn"
ages_years = [1, 5]
sources = ["toy*", "data*"]
[[populations]]
name = "adults"
who = "adults"
source = "drawn"
sources = ["north", "south"]
"""
    text = text.replace('sources = ["toy*", "data*"]', f'sources = ["{toy_data.resolve().name}"]')
    recipe = tmp_path / "two.toml"
    recipe.write_text(text)
    arguments = ["train", "--recipe", str(recipe), "--data", str(toy_data), "--data", str(table)]
    arguments += ["--device", "cpu", "--quiet", "--lungs", "models/lungs"]
    arguments += ["--teacher", str(smoke_run), "--leave-out", "south", "--out"]
    assert main([*arguments, str(tmp_path / "run")]) == 0
    run = open_run(tmp_path / "run")
    assert run.name == "smoke-without-south"
    assert [one.name for one in run.populations] == ["children", "adults"]
    adults = run.populations[1]
    assert {one.name for one in adults.sources} == {"north", "south"}
    assert adults.images == sum(one.images for one in adults.sources)
    southern = {f"grown/{i}.png" for i in range(12, 24)}
    rows = read_split_file(tmp_path / "run" / "split.csv")
    learnt = [row for row in rows if row.part == "train" and row.name not in southern]
    assert run.provenance.images["train"] == len(learnt)
    assert southern <= {row.name for row in rows}
    assert len(run.scope.thresholds.populations) == 2


def test_teachers_are_needed_and_answer_the_same_question(smoke_run: Path, tmp_path: Path) -> None:
    from cxr.data.labels import ETIOLOGY
    from training.device import choose_compute

    samples, compute = make_samples({("a", 0): 2}), choose_compute("cpu")
    with pytest.raises(RunError, match="give --teacher"):
        ask_teachers((), samples, PNEUMONIA, compute)
    with pytest.raises(RunError, match="another question"):
        ask_teachers((smoke_run,), samples, ETIOLOGY, compute)


def test_adopted_weights_answer_as_before(smoke_run: Path, toy_data: Path, tmp_path: Path) -> None:
    """The run is measured as the one they came from; calibration on them changes nothing."""
    arguments = ["adopt", "--weights", str(smoke_run / "weights.safetensors"), "--recipe", "smoke"]
    arguments += ["--split-file", str(smoke_run / "split.csv"), "--data", str(toy_data)]
    out = tmp_path / "adopted"
    assert main([*arguments, "--out", str(out), "--device", "cpu", "--quiet"]) == 0
    before, after = open_run(smoke_run), open_run(out)
    assert after.calibration.temperature == pytest.approx(before.calibration.temperature, rel=0.01)
    for figure in ("auroc", "accuracy"):
        old = before.metrics["test"]["balanced"][figure].value
        assert after.metrics["test"]["balanced"][figure].value == pytest.approx(old, abs=0.02)
    assert "adopted" in after.provenance.init
    shutil.copy(smoke_run / "split.csv", tmp_path / "split.csv")
