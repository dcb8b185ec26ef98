"""What is shown of an AC-GAN: figures, curves and a row of images of each class."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results.drawings import write_svg
from benchmarks.table import markdown
from cxr.section import Section
from training.device import choose_compute
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.record import GanRun, GeneratorQuality, open_gan
from training.experiments.gan.report import draw_gan_curves
from training.experiments.gan.sampling import render_rows
from training.experiments.gan.synthesize import load_generator

CURVES, IMAGES = "gan.svg", "gan.png"


class Generated(Section):
    """An AC-GAN: how long it learnt, and what its images are worth."""

    name: str
    version: str
    classes: tuple[str, ...]
    size_px: int
    images: int
    patients: int
    """That it learnt from."""
    epochs: int
    seconds: float
    auxiliary_real: float
    auxiliary_generated: float
    """Accuracy of the auxiliary classifier in the last epoch."""
    features: str
    worth: GeneratorQuality


def show_generator(path: Path, folder: Path) -> Generated:
    """Draw curves and images into a folder, and give the figures.

    Args:
        path: What ``python -m training gan`` made.
        folder: Gets ``gan.svg`` and ``gan.png``.

    Raises:
        RunError: It is not such a directory, or damaged.
    """
    run = open_gan(path)
    write_svg(draw_gan_curves(run), folder / CURVES, run.name)
    generator, recipe = load_generator(path, run), GanRecipe.model_validate(run.recipe)
    compute = choose_compute("cpu").exact
    (folder / IMAGES).write_bytes(render_rows(generator, len(run.task.classes), recipe, compute))
    return _figures(run)


def _figures(run: GanRun) -> Generated:
    last = run.curves[-1]
    return Generated(
        name=run.name,
        version=run.version,
        classes=run.task.classes,
        size_px=run.preprocessing.size_px,
        images=run.provenance.images["train"],
        patients=run.provenance.patients["train"],
        epochs=len(run.curves),
        seconds=sum(record.seconds for record in run.curves),
        auxiliary_real=last.auxiliary_real,
        auxiliary_generated=last.auxiliary_generated,
        features=f"{run.features.name} {run.features.version}",
        worth=run.worth,
    )


def generated_markdown(found: Generated) -> str:
    """Give the section of the page."""
    header = [
        "class",
        "KID of made images",
        "KID of real training images",
        "distance to the nearest training image: made",
        "held-out patients",
        "closer than 1 % of held-out",
    ]
    rows = []
    for name in found.classes:
        kid, real = found.worth.kid[name], found.worth.reference[name]
        near = found.worth.memorisation[name]
        rows.append(
            [
                name.lower(),
                f"{kid.value:.4f} ± {kid.standard_error:.4f}",
                f"{real.value:.4f} ± {real.standard_error:.4f}",
                f"{near.generated:.2f}",
                f"{near.held_out:.2f}",
                f"{100 * near.close_share:.1f} %",
            ]
        )
    return TEXT.format(found=found, minutes=found.seconds / 60, table=markdown(header, rows))


TEXT = """## Made radiographs

AC-GAN `{found.name}` {found.version}: {found.size_px} pixels, {found.epochs} epochs in
{minutes:.0f} min over {found.images} images of {found.patients} patients. In its last epoch the
auxiliary classifier is right about {found.auxiliary_real:.3f} of the real and
{found.auxiliary_generated:.3f} of the made images. KID is taken in the embedding of
{found.features}, a network of this project, against validation patients; what the figures mean
and what they cannot show: [gan.md](gan.md).

{table}

![Losses, accuracy of the auxiliary classifier and KID over the epochs](results/gan.svg)

A row of each class, from the same noise. They show no patient.

![Made radiographs of each class](results/gan.png)"""
