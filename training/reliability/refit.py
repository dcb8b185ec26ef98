"""``python -m training limits``: fit and measure a run's limits anew, also with other data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cxr.bundles.digest import new_directory, sha256_of_file
from cxr.bundles.manifest import SCOPE_NAME, WEIGHTS_NAME
from cxr.bundles.run import RUN_NAME, Run, open_run
from cxr.data.dataset import DataSets
from cxr.data.split import PARTS, SPLIT_NAME, list_divided, read_split_file
from cxr.errors import RunError
from cxr.metrics.estimate import format_estimate
from cxr.networks.served import served_network
from training.data.samples import load_samples
from training.data.split import samples_of
from training.device import Compute
from training.recipe import Recipe
from training.reliability.limits import Elsewhere, NamedFolder, find_limits
from training.reliability.scope_measure import list_pictures


def limit_run(
    run_path: Path,
    data: DataSets,
    elsewhere: Elsewhere,
    compute: Compute,
    *,
    ages: tuple[float, float] | None = None,
    quiet: bool = False,
) -> Run:
    """Fit and measure a run's limits and write them into it; its weights stay as they are.

    The run is replaced as a whole, or not at all.

    Args:
        run_path: The run directory.
        data: The data set it was trained on.
        elsewhere: Pictures of other sources.
        compute: Device.
        ages: Youngest and oldest patients of the data in years; None for the recipe's.
        quiet: Show no progress bar.

    Returns:
        The run as it is now.

    Raises:
        RunError: The run is missing or damaged.
        DataError: The data set or a folder is not as it must be.
    """
    run = open_run(run_path)
    for folder in (*elsewhere.frontal, *elsewhere.in_scope, *elsewhere.out_of_scope):
        list_pictures(folder.path)  # before the long work
    task, recipe = run.task.as_task(), Recipe.model_validate(run.recipe)
    rows = read_split_file(run_path / SPLIT_NAME)
    samples = load_samples(
        list_divided(data, task, [row.name for row in rows]),
        run.preprocessing,
        task,
        os.cpu_count() or 1,
        quiet,
    )
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    point = next(p for p in run.operating_points if p.name == run.default_operating_point)
    if ages is not None:
        recipe = recipe.model_copy(update={"ages_years": ages})
    served = served_network(run_path / WEIGHTS_NAME, run)
    found = find_limits(served, recipe, task, point, parts, run.preprocessing, compute, elsewhere)
    with new_directory(run_path, RUN_NAME) as directory:
        shutil.copytree(run_path, directory, dirs_exist_ok=True)
        found.gate.save(directory / SCOPE_NAME)
        changes = {
            "scope": found.scope,
            "referral": found.referral,
            "scope_sha256": sha256_of_file(directory / SCOPE_NAME),
        }
        changed = run.model_copy(update=changes)
        (directory / RUN_NAME).write_text(changed.model_dump_json(indent=2) + "\n")
    return changed


def named_folder(text: str) -> NamedFolder:
    """Read ``NAME=DIR``.

    Raises:
        RunError: It is not of that form.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise RunError(f"{text!r} is not NAME=DIR: a name for the report and a folder.")
    return NamedFolder(name, Path(path))


def format_limits(run: Run) -> str:
    """Give the figures as aligned tables."""
    lines = [f"{'scope':34}{'images':>8}  {'flagged':24}{'refused':>9}{'unusual':>9}"]
    for figure in run.scope.figures:
        kind = "in " if figure.frontal else "out"
        flagged = format_estimate("flagged", figure.flagged)
        lines.append(
            f"{kind} {figure.name:30}{figure.images:>8}  {flagged:24}"
            f"{figure.refused:>9.3f}{figure.unusual:>9.3f}"
        )
    lines += ["", f"{'coverage asked':>14}  {'reached':24}{'referred':24}accuracy of the rest"]
    for one in run.referral.figures:
        cells = (one.coverage, one.referred, one.accuracy)
        lines.append(
            f"{one.target:>14.2f}  " + "".join(f"{format_estimate('', c):24}" for c in cells)
        )
    return "\n".join(line.rstrip() for line in lines)
