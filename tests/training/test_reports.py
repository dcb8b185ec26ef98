"""Evaluation and comparison: files a person opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.__main__ import main

FIGURES = {
    "training_curves", "confusion_matrix", "roc", "precision_recall", "reliability", "histogram",
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(smoke_run: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the evaluate command makes for the test split."""
    out = tmp_path_factory.mktemp("reports") / "test"
    arguments = ["--run", str(smoke_run), "--data", str(toy_data), "--split", "test"]
    assert main(["evaluate", *arguments, "--out", str(out), "--device", "cpu", "--quiet"]) == 0
    return out


def test_evaluation_holds_every_figure_with_its_interval(evaluation: Path) -> None:
    """All eleven figures at all three operating points, with bounds around them."""
    content = json.loads((evaluation / "metrics.json").read_text())
    assert content["images"] == 24
    for point in ("balanced", "screening", "rule_in"):
        figures = content["metrics"][point]
        assert len(figures) == 11
        for estimate in figures.values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_report_is_one_file_with_all_figures(evaluation: Path) -> None:
    """The page embeds its figures and asks nothing of any other place."""
    page = (evaluation / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(FIGURES)
    assert 'src="http' not in page
    assert {p.stem for p in evaluation.glob("*.png")} == FIGURES
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in evaluation.glob("*.png"))


def test_comparison_puts_runs_side_by_side(
    smoke_run: Path, evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run and an evaluation become two columns, false negatives against the first included."""
    assert main(["compare", str(smoke_run), str(evaluation), "--out", str(tmp_path / "c")]) == 0
    table = capsys.readouterr().out
    assert "| figure | smoke 0.0.1 (smoke) | smoke 0.0.1 on test |" in table
    assert "false negatives against the first" in table
    assert {p.name for p in (tmp_path / "c").iterdir()} == {
        "comparison.md", "comparison.html", "comparison.png",
    }  # fmt: skip


def test_comparison_of_something_else_is_refused(
    tmp_path: Path, smoke_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is no run, and an operating point that is none, are named."""
    assert main(["compare", str(tmp_path)]) == 1
    assert "No run at" in capsys.readouterr().err
    assert main(["compare", str(smoke_run), "--operating-point", "x"]) == 1
    assert "operating point 'x'" in capsys.readouterr().err


def test_internal_part_is_the_runs_own(smoke_run: Path, toy_data: Path, tmp_path: Path) -> None:
    """Evaluating internal-test gives the figures the run recorded for it."""
    arguments = ["--run", str(smoke_run), "--data", str(toy_data), "--split", "internal-test"]
    assert (
        main(["evaluate", *arguments, "--out", str(tmp_path / "e"), "--device", "cpu", "--quiet"])
        == 0
    )
    given = json.loads((tmp_path / "e" / "metrics.json").read_text())["metrics"]
    recorded = json.loads((smoke_run / "run.json").read_text())["metrics"]["test"]
    assert given["balanced"]["auroc"] == recorded["balanced"]["auroc"]
