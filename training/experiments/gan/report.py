"""Figures and page of an AC-GAN."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.experiments.gan.record import GanRun
from training.experiments.gan.sampling import render_sheet, sample_images
from training.experiments.gan.trainer import GanTrainer
from training.report.page import render_page, write_figures

REPORT_NAME = "report.html"
SHEET_IMAGES, SHEET_COLUMNS = 40, 8
PAIRS = 8


def draw_gan_curves(run: GanRun) -> Figure:
    """Draw losses, auxiliary accuracy, and KID over the epochs."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    losses, classes, kids = figure.subplots(1, 3)
    epochs = [record.epoch + 1 for record in run.curves]
    losses.plot(epochs, [r.discriminator_loss for r in run.curves], label="discriminator")
    losses.plot(epochs, [r.generator_loss for r in run.curves], label="generator")
    losses.set(xlabel="epoch", ylabel="loss", title="Losses (with that of the classes)")
    classes.plot(epochs, [r.auxiliary_real for r in run.curves], label="real images")
    classes.plot(epochs, [r.auxiliary_generated for r in run.curves], label="generated images")
    classes.set(xlabel="epoch", ylabel="accuracy", title="Auxiliary classifier, in training")
    for name in run.task.classes:
        judged = [(r.epoch + 1, r.kid[name]) for r in run.curves if r.kid is not None]
        bars = kids.errorbar(
            [epoch for epoch, _ in judged],
            [kid.value for _, kid in judged],
            [2.0 * kid.standard_error for _, kid in judged],
            marker="o",
            label=name,
        )
        colour = bars.lines[0].get_color()
        kids.axhline(run.worth.reference[name].value, color=colour, linestyle=":")
    kids.set_yscale("symlog", linthresh=0.01)
    kids.set(xlabel="epoch", ylabel="KID", title="KID (dotted: real training images)")
    for axes in (losses, classes, kids):
        axes.legend()
    return figure


def write_report(
    run: GanRun,
    trainer: GanTrainer,
    pairs: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    directory: Path,
) -> Path:
    """Write curves, a sheet of each class, the closest pairs, and a page; return its path.

    ``pairs``: Images (N, 1, S, S) and their nearest training images, closest first.
    """
    urls = write_figures({"curves": draw_gan_curves(run)}, directory)
    sheets = {
        f"samples-{name}": render_sheet(
            sample_images(trainer.result, label, SHEET_IMAGES, trainer.recipe, trainer.compute),
            SHEET_COLUMNS,
        )
        for label, name in enumerate(run.task.classes)
    }
    shown = np.concatenate([images[:PAIRS] for images in pairs])
    sheets["neighbours"] = render_sheet(shown, min(PAIRS, len(pairs[0])))
    for name, png in sheets.items():
        (directory / f"{name}.png").write_bytes(png)
        urls[name] = "data:image/png;base64," + base64.b64encode(png).decode()
    page = directory / REPORT_NAME
    page.write_text(render_page("gan.html.j2", run=run, urls=urls))
    return page
