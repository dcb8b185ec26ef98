"""From run directories to the document the results page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.machine import describe_machine
from benchmarks.results.cost import measure_costs
from benchmarks.results.document import Cost, Experiment, Results, Trained
from benchmarks.results.generated import Generated
from benchmarks.table import machine_line
from cxr.bundles.run import RUN_NAME, Run, open_run
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
        runs=tuple(_trained(run, cost) for (_, run), cost in zip(runs, costs, strict=True)),
        smoke_only=tuple(n for n in recipe_names() if n not in trained and n != SMOKE),
        generated=generated,
        experiments=tuple(Experiment(name=p.stem, markdown=p.read_text()) for p in experiments),
        heatmaps=heatmaps,
    )


def _trained(run: Run, cost: Cost) -> Trained:
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
    )
