"""From run directories to the document the results page is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.machine import describe_machine
from benchmarks.results.cost import measure_costs
from benchmarks.results.document import Cost, Experiment, HeatmapFigures, Results, Trained
from benchmarks.results.generated import Generated
from benchmarks.table import machine_line
from cxr.bundles.run import RUN_NAME, Run, open_run
from cxr.explain.evidence import read_evidence
from training.recipe import recipe_names

PART = "test"
SMOKE = "smoke"


def find_runs(folders: Sequence[Path]) -> list[tuple[Path, Run]]:
    """Open the run directories that are given or lie in a given folder, sorted by name.

    Raises:
        MeasureError: There is none, two are called the same, or one has no test figures.
    """
    paths = [
        path
        for folder in folders
        for path in ([folder] if (folder / RUN_NAME).is_file() else sorted(folder.iterdir()))
        if (path / RUN_NAME).is_file()
    ]
    runs = [(path, open_run(path)) for path in paths]
    if not runs:
        raise MeasureError(f"No run in {', '.join(map(str, folders))}.")
    names = [run.name for _, run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MeasureError(f"Two runs are called {', '.join(sorted(twice))}.")
    if without := [run.name for _, run in runs if PART not in run.metrics]:
        raise MeasureError(f"{without[0]} was not measured on patients kept apart for it.")
    return sorted(runs, key=lambda found: found[1].name)


def collect(
    runs: Sequence[tuple[Path, Run]],
    generated: Generated | None,
    experiments: Sequence[Path],
    heatmaps: str | None,
) -> Results:
    """Measure costs and put everything together.

    Args:
        runs: What was trained.
        generated: Figures of an AC-GAN, if there is one.
        experiments: Markdown files with the tables of other comparisons.
        heatmaps: What the drawing of mean heatmaps is of; None if there is none.
    """
    machine = describe_machine()
    costs = measure_costs(runs)
    trained = {run.recipe.get("name", run.name) for _, run in runs}
    return Results(
        machine=machine_line(dict(machine)),
        commit=machine["commit"],
        at=machine["at"],
        runs=tuple(
            _trained(path, run, cost) for (path, run), cost in zip(runs, costs, strict=True)
        ),
        smoke_only=untrained(trained),
        generated=generated,
        experiments=tuple(Experiment(name=p.stem, markdown=p.read_text()) for p in experiments),
        heatmaps=heatmaps,
    )


def untrained(trained: Iterable[str]) -> tuple[str, ...]:
    """Return the recipes that no run was trained by; ``--architecture`` goes before their names."""
    by = {name for name in recipe_names() for one in trained if f"-{one}".endswith(f"-{name}")}
    return tuple(name for name in recipe_names() if name not in by | {SMOKE})


def _heatmaps(path: Path, run: Run) -> HeatmapFigures | None:
    evidence = read_evidence(path, run.weights_sha256)
    if evidence is None:
        return None
    return HeatmapFigures(
        images=evidence.images,
        passing=evidence.passing(),
        lung_share=evidence.lung_share,
        pointing=evidence.pointing,
        dependence=evidence.dependence,
    )


def _trained(path: Path, run: Run, cost: Cost) -> Trained:
    return Trained(
        name=run.name,
        version=run.version,
        architecture=run.architecture,
        task=run.task,
        recipe=run.provenance.recipe,
        seed=run.provenance.seed,
        init=run.provenance.init,
        code_revision=run.provenance.code_revision,
        size_px=run.preprocessing.size_px,
        mirror=run.calibration.mirror,
        curves=run.curves,
        operating_point=run.default_operating_point,
        part=PART,
        images=run.provenance.images[PART],
        figures=run.metrics[PART][run.default_operating_point],
        cost=cost,
        populations=run.populations,
        learnt=run.provenance.sources,
        teachers=run.provenance.teachers,
        heatmaps=_heatmaps(path, run),
    )


def with_kept(results: Results, kept: Results) -> Results:
    """Add what an earlier document has of other runs, and what was not made again."""
    names = {run.name for run in results.runs}
    runs = [*results.runs, *(run for run in kept.runs if run.name not in names)]
    recipes = {run.recipe for run in runs} | {run.architecture for run in runs}
    return results.model_copy(
        update={
            "runs": tuple(sorted(runs, key=lambda run: run.name)),
            "smoke_only": untrained(recipes),
            "generated": results.generated or kept.generated,
            "experiments": results.experiments or kept.experiments,
            "heatmaps": results.heatmaps or kept.heatmaps,
        }
    )
