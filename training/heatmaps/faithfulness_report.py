"""The report of the faithfulness checks: figures, tables and one HTML page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr.explain.evidence import (
    BASELINES,
    EVIDENCE_NAME,
    GROUPS,
    ExplanationEvidence,
    evidence_markdown,
)
from cxr.files import new_directory
from training.heatmaps.faithfulness import Findings
from training.report.page import json_text, render_page, write_figures

REPORT_NAME = "report.html"
SHOWN_FIELDS = 16


def write_report(findings: Findings, out: Path) -> Path:
    """Write explanation.json, the figures and report.html, and return the page's path.

    An older folder is replaced when the new one is complete. The page shows images of the data set.

    Raises:
        OutputError: Something else stands where the report shall be.
    """
    evidence = findings.evidence
    drawn = {
        "deletion_and_insertion": _draw_curves(findings),
        "randomisation": _draw_randomisation(evidence),
        "lung_fields": _draw_fields(findings),
    }
    with new_directory(out, EVIDENCE_NAME) as directory:
        (directory / EVIDENCE_NAME).write_text(json_text(evidence))
        page = render_page(
            "faithfulness.html.j2",
            e=evidence,
            tables=evidence_markdown(evidence),
            figures=write_figures(drawn, directory),
        )
        (directory / REPORT_NAME).write_text(page)
    return out / REPORT_NAME


def _draw_curves(findings: Findings) -> Figure:
    rows = findings.evidence.curves
    figure = Figure(figsize=(9, 3.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 2, squeeze=False, sharex=True, sharey=True)
    for (deleted, inserted), row in zip(grid, rows, strict=True):
        found = findings.curves[row.group, row.baseline]
        random = np.mean([c.random for c in found], axis=(0, 1))
        removed = np.linspace(0, 1, len(random))
        for i, method in enumerate(row.deletion):
            deleted.plot(removed, np.mean([c.deletion[i] for c in found], axis=0), label=method)
            inserted.plot(removed, np.mean([c.insertion[i] for c in found], axis=0), label=method)
        deleted.plot(removed, random, color="grey", linestyle=":", label="random maps")
        inserted.plot(removed, random[::-1], color="grey", linestyle=":", label="random maps")
        deleted.set_title(f"{GROUPS[row.group]}:\nhottest removed first", fontsize=9)
        inserted.set_title(f"baseline {BASELINES[row.baseline]}:\nhottest first", fontsize=9)
        deleted.set(xlabel="share removed", ylabel="probability", ylim=(0, 1.02))
        inserted.set(xlabel="share put back")
        inserted.legend(loc="lower right", fontsize=7)
    return figure


def _draw_randomisation(evidence: ExplanationEvidence) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for method, row in evidence.randomisation.items():
        values = [stage.likeness.spearman.value for stage in row.stages]
        stages = ["trained", *(stage.stage for stage in row.stages)]
        (line,) = axes.plot(stages, [1.0, *(np.nan if v is None else v for v in values)], "o-")
        line.set_label(method)
        if row.reference.spearman.value is not None:
            axes.axhline(row.reference.spearman.value, color=line.get_color(), linestyle=":")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(xlabel="randomised down to", ylabel="rank correlation", title="Randomised weights")
    axes.legend()
    return figure


def _draw_fields(findings: Findings) -> Figure:
    pixels = findings.positives.pixels[:SHOWN_FIELDS, 0]
    figure = Figure(figsize=(9, 9), layout="constrained")
    grid = figure.subplots(4, 4).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, field in zip(grid, pixels, findings.fields, strict=False):
        cell = len(image) / len(field)
        centres = (np.arange(len(field)) + 0.5) * cell - 0.5
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.contour(centres, centres, field, levels=[0.5], colors="red", linewidths=1)
    figure.suptitle("Estimated lung fields")
    return figure
