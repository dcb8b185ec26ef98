"""``python -m training search``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from cxr.errors import RunError
from training.commands.arguments import Commands, add_training, job_of, recipe_of, training_world


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    search = commands.add_parser("search", help="search for the best values of a recipe's fields")
    add_training(search, "folder for the study; given again, the search goes on")
    search.add_argument("--space", type=Path, required=True, help="TOML file: fields with ranges")
    search.add_argument("--trials", type=int, default=20, help="finished ones, over all calls")
    search.add_argument("--sampler", choices=("tpe", "random", "grid"), default="tpe")
    search.add_argument("--pruner", choices=("median", "hyperband", "none"), default="median")
    return search


def run(arguments: argparse.Namespace) -> None:
    """Start or resume a search."""
    if find_spec("optuna") is None:
        raise RunError("Optuna is not installed: pip install 'cxr-inference[search]'.")
    from training.experiments.search.learn import open_learner
    from training.experiments.search.search import SearchPlan, search
    from training.experiments.search.space import load_space

    with training_world(arguments) as world:
        recipe = recipe_of(arguments)
        space = load_space(arguments.space, recipe)
        learner = open_learner(job_of(arguments, recipe, arguments.out, world))
        plan = SearchPlan(
            recipe=recipe,
            space=space,
            trials=arguments.trials,
            sampler=arguments.sampler,
            pruner=arguments.pruner,
            out=arguments.out,
            figure="val_auroc" if len(learner.task.classes) == 2 else "val_accuracy",
            data=f"{learner.digest} {learner.job.init}",
        )
        best = search(plan, learner.learn)
        print((arguments.out / "search.md").read_text())
        print(f"best recipe written to {best}")
