"""Command line: ``python -m training gan|synthesize|gan-effect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.arguments import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, add_split_file, compute_of


def add_gan(commands: Commands) -> None:
    """Add ``gan``, ``synthesize`` and ``gan-effect`` to the commands."""
    gan = commands.add_parser("gan", help="train an AC-GAN that makes radiographs of each class")
    gan.add_argument("--recipe", default="gan128", help="a .toml file, or a name: gan128, smoke")
    add_data(gan)
    gan.add_argument("--out", type=Path, required=True, help="directory to make")
    add_split_file(gan)
    gan.add_argument(
        "--features", type=Path, help="run whose embedding KID is taken in; default: resnet18"
    )
    gan.add_argument("--seed", type=int, help="default: the recipe's")
    gan.add_argument("--restart", action="store_true", help="drop an unfinished training")
    add_compute(gan)
    add_quiet(gan)

    made = commands.add_parser("synthesize", help="write images of an AC-GAN as a data set")
    made.add_argument("--gan", type=Path, required=True, help="directory that gan made")
    made.add_argument("--n", type=int, default=500, help="images of each class")
    made.add_argument("--out", type=Path, required=True, help="folder to make")
    made.add_argument("--seed", type=int, default=0, help="of the noise")
    add_compute(made)

    effect = commands.add_parser(
        "gan-effect", help="train a classifier with and without made images, and compare"
    )
    add_data(effect)
    effect.add_argument("--synthetic", type=Path, required=True, help="folder synthesize made")
    effect.add_argument("--out", type=Path, required=True, help="folder; what is done stays done")
    effect.add_argument("--recipe", help="of the classifier; default: a small one of this command")
    effect.add_argument("--seeds", type=int, default=3, help="how many")
    effect.add_argument("--each", type=int, default=500, help="made images a class, arm 'even'")
    effect.add_argument("--minority", metavar="CLASS", help="default: the smallest class")
    add_compute(effect)
    add_quiet(effect)


def run_gan(arguments: argparse.Namespace) -> None:
    """Train an AC-GAN."""
    from training.experiments.gan.features import DEFAULT_FEATURES
    from training.experiments.gan.job import GanJob
    from training.experiments.gan.recipe import load_gan_recipe
    from training.experiments.gan.train import run_gan_training

    recipe = load_gan_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = recipe.model_copy(update={"seed": arguments.seed})
    job = GanJob(
        recipe=recipe,
        data=arguments.data,
        out=arguments.out,
        compute=compute_of(arguments),
        features=arguments.features or DEFAULT_FEATURES,
        split_file=arguments.split_file,
        quiet=arguments.quiet,
    )
    run_gan_training(job, restart=arguments.restart)
    print(f"generator written to {arguments.out}")


def run_synthesize(arguments: argparse.Namespace) -> None:
    """Write made images as a data set."""
    from training.experiments.gan.synthesize import synthesize

    compute = compute_of(arguments)
    out = synthesize(arguments.gan, arguments.out, arguments.n, arguments.seed, compute)
    print(f"images written to {out}")


def run_gan_effect(arguments: argparse.Namespace) -> None:
    """Compare trainings with and without made images."""
    from training.experiments.gan.effect import CLASSIFIER, EffectJob, measure_effect
    from training.experiments.gan.effect_report import effect_markdown
    from training.recipe import load_recipe

    job = EffectJob(
        recipe=load_recipe(arguments.recipe or str(CLASSIFIER)),
        data=arguments.data,
        synthetic=arguments.synthetic,
        out=arguments.out,
        compute=compute_of(arguments),
        seeds=tuple(range(arguments.seeds)),
        each=arguments.each,
        minority=arguments.minority,
        quiet=arguments.quiet,
    )
    print(effect_markdown(measure_effect(job)))
