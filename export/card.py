"""Model cards."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr.bundles.manifest import Manifest
from cxr.bundles.run import Run
from cxr.data.labels import Task
from cxr.explain.evidence import (
    ExplanationEvidence,
    curves_markdown,
    dependence_markdown,
    lung_markdown,
    pointing_markdown,
    randomisation_markdown,
)
from cxr.metrics.estimate import format_estimate
from cxr.verdict.conclusion import listed, short_words_of, words_of
from cxr.verdict.populations import LEAST_AUROC
from export.int8 import Int8File

TEMPLATES_DIR = Path(__file__).parent / "templates"


def render_card(
    manifest: Manifest,
    notes: tuple[str, ...],
    evidence: ExplanationEvidence | None = None,
    int8: Int8File | None = None,
) -> str:
    """Render MODEL_CARD.md."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown, and every value is our own
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["format_estimate"] = format_estimate
    environment.globals["listed"] = listed
    environment.globals["least_auroc"] = LEAST_AUROC
    environment.globals["dependence_markdown"] = dependence_markdown
    environment.globals["pointing_markdown"] = pointing_markdown
    environment.globals["curves_markdown"] = curves_markdown
    environment.globals["randomisation_markdown"] = randomisation_markdown
    environment.globals["lung_markdown"] = lung_markdown
    return environment.get_template("MODEL_CARD.md.j2").render(
        m=manifest,
        notes=notes,
        evidence=evidence,
        int8=int8,
        band=manifest.referral.band(manifest.operating_point(), manifest.task.positive),
    )


NUMBERS = {2: "two", 3: "three"}


def intended_use(run: Run) -> str:
    """Say what a run's model is for."""
    task = run.task.as_task()
    asked = f"how probable {words_of(task.positive)} is"
    if task.presupposed is not None:
        kinds = [short_words_of(name) for name in task.classes]
        asked = f"whether {words_of(task.presupposed)} known to be there is {listed(kinds, 'or')}"
    known = [one.who for one in run.populations if one.validated]
    of = f" of {listed(known, 'or')}" if known else ""
    return (
        f"Research and engineering of radiograph pipelines: an estimate of {asked} on frontal "
        f"chest radiographs{of}, one at a time. Not a medical device; not for decisions about a "
        "person's care."
    )


def limitations(run: Run) -> tuple[str, ...]:
    """List what limits a run's model."""
    task = run.task.as_task()
    return (
        *_presupposes(task),
        _trained_on(run),
        _validated_on(run),
        f"Knows {NUMBERS.get(len(task.classes), len(task.classes))} classes only: every other "
        "finding is called one of them.",
        "Frontal views (PA, AP) only; laterals, other body parts and other modalities are outside. "
        "The scope gate finds most of them, and knows layouts rather than anatomy.",
        f"Probabilities are calibrated for the share of {words_of(task.positive)} in the training "
        "data; at another prevalence they are too high or too low, and PPV and NPV differ.",
    )


def _presupposes(task: Task) -> tuple[str, ...]:
    if task.presupposed is None:
        return ()
    whole = words_of(task.presupposed)
    return (
        f"Presupposes {whole}: of a radiograph without {whole} the answer means nothing, and the "
        "scope gate does not find all of these.",
    )


def _trained_on(run: Run) -> str:
    images, patients = run.provenance.images, run.provenance.patients
    origins = "; ".join(f"{one.who} ({one.source})" for one in run.populations)
    return (
        f"Trained on {images['train']} radiographs of {patients['train']} patients: {origins}. "
        "Other hospitals and devices than theirs may be read wrongly."
    )


def _validated_on(run: Run) -> str:
    known = [one.who for one in run.populations if one.validated]
    others = [one.who for one in run.populations if not one.validated]
    if not known:
        return "Validated on nobody: it decides nothing, and every radiograph is referred."
    poor = f", and not good enough for {listed(others)}" if others else ""
    return (
        f"Validated on {listed(known)} only{poor}. Radiographs that do not look like theirs, or "
        "whose DICOM age is another's, are referred."
    )
