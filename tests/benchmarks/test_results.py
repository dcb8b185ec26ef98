"""The results page: made of run directories, no figure lost or typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.child import MeasureError
from benchmarks.results.collect import collect, find_runs, with_kept
from benchmarks.results.document import Results, open_results
from benchmarks.results.drawings import draw_heatmaps, mean_heatmaps, write_curves
from benchmarks.results.page import render_results
from cxr.bundles.manifest import task_section
from cxr.data.labels import TASKS, TERNARY
from cxr.metrics.estimate import format_estimate
from training.recipe import recipe_names
from training.report.page import render_png


@pytest.fixture(scope="module")
def results(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The document of one run and one experiment."""
    table = tmp_path_factory.mktemp("experiments") / "synthetic.md"
    table.write_text("# Synthetic images\n\nThey help no one.\n")
    return collect(find_runs([smoke_run.parent]), None, [table], None)


def test_figures_are_the_runs_own(results: Results, smoke_run: Path) -> None:
    """What the run measured stands on the page, and what it costs was measured."""
    run = json.loads((smoke_run / "run.json").read_text())
    [found] = results.runs
    page = render_results(results)
    for key in ("auroc", "false_negatives", "sensitivity"):
        assert found.figures[key].model_dump() == run["metrics"]["test"]["balanced"][key]
        assert format_estimate(key, found.figures[key]) in page
    assert 1_000_000 < found.cost.parameters < 1_200_000
    assert 1e8 < found.cost.macs < 2e8
    assert 4 * found.cost.parameters < found.cost.onnx_bytes < 5 * found.cost.parameters
    assert found.cost.latency_ms > 0


def test_page_says_what_was_not_trained(results: Results) -> None:
    """Recipes without a run are named as only tried, and published systems as not trained."""
    page = render_results(results)
    untrained = set(recipe_names()) - {"smoke"}
    assert set(results.smoke_only) == untrained
    assert "`resnet18`" in page.partition("Only run as a smoke test")[2].partition("\n")[0]
    assert "\n## Synthetic images\n\nThey help no one." in page
    assert all(title in page for title in ("## Normal or pneumonia", "## Viral or bacterial"))


def test_classes_have_columns_of_their_own(results: Results) -> None:
    """A ternary run is shown with the recall of each class."""
    [run] = results.runs
    estimate = run.figures["auroc"]
    keys = ("class_accuracy", "macro_auroc", *(f"recall_{name}" for name in TERNARY.classes))
    figures = run.figures | dict.fromkeys(keys, estimate)
    changed = run.model_copy(update={"task": task_section(TERNARY), "figures": figures})
    page = render_results(results.model_copy(update={"runs": (changed,)}))
    assert "recall viral" in page
    assert "AUROC (pneumonia)" in page
    assert {task.name for task in TASKS.values()} == {"pneumonia", "etiology", "ternary"}


def test_a_source_left_out_stands_beside_the_whole(results: Results) -> None:
    """Runs of the same recipe, one of which learnt nothing from a source it was measured on."""
    [run] = results.runs
    source = run.populations[0].sources[0].name
    assert "## A source left out" not in render_results(results)
    without = run.model_copy(
        update={"name": f"smoke-without-{source}", "learnt": {"another source": 7}}
    )
    page = render_results(results.model_copy(update={"runs": (run, without)}))
    table = page.partition("## A source left out")[2].partition("Published")[0]
    assert f"| `smoke` | {source} | {run.learnt[source]} |" in table
    assert f"| `smoke-without-{source}` | {source} | 0 |" in table


def test_kept_runs_are_those_that_were_not_made_again(results: Results) -> None:
    """A run of the same name is replaced; what is older and another's stays."""
    [run] = results.runs
    old = run.model_copy(update={"version": "0.1.0"})
    other = run.model_copy(update={"name": "other", "recipe": "vgg16"})
    kept = with_kept(results, results.model_copy(update={"runs": (old, other)}))
    assert [(one.name, one.version) for one in kept.runs] == [
        ("other", run.version),
        ("smoke", run.version),
    ]
    assert "vgg16" not in kept.smoke_only
    assert kept.experiments == results.experiments


def test_document_survives_its_file(results: Results, tmp_path: Path) -> None:
    """The page can be made anew from what is kept, and a damaged document is refused."""
    path = tmp_path / "results.json"
    path.write_text(results.model_dump_json())
    assert render_results(open_results(path)) == render_results(results)
    path.write_text("{}")
    with pytest.raises(MeasureError, match="machine: Field required"):
        open_results(path)


def test_runs_must_be_told_apart(smoke_run: Path, tmp_path: Path) -> None:
    """Two of one name, or none at all, are refused."""
    with pytest.raises(MeasureError, match="No run"):
        find_runs([tmp_path])
    shutil.copytree(smoke_run, tmp_path / "other")
    with pytest.raises(MeasureError, match="called smoke"):
        find_runs([smoke_run, tmp_path])


def test_drawings(results: Results, smoke_run: Path, toy_data: Path, tmp_path: Path) -> None:
    """Curves are the same bytes each time; heatmaps have a mean for each class."""
    [run] = results.runs
    contents = []
    for _ in range(2):
        write_curves("smoke", run.curves, tmp_path)
        contents.append((tmp_path / "smoke.svg").read_bytes())
    assert contents[0] == contents[1]
    [(path, opened)] = find_runs([smoke_run])
    maps = mean_heatmaps(path, opened, [toy_data], 6)
    assert set(maps) == {"NORMAL", "PNEUMONIA"}
    assert all(one.min() >= 0.0 and one.max() <= 1.0 for one in maps.values())
    assert render_png(draw_heatmaps({"smoke": maps})).startswith(b"\x89PNG")
