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
    lung_markdown,
    randomisation_markdown,
)
from cxr.metrics.estimate import format_estimate
from cxr.verdict.conclusion import listed, short_words_of, words_of
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


SHARES = {
    "80464989fc9acfbe4247b3fdcada2a4613b7850b5de767cea5f0c84a71523c93": "pneumonia in the "
    "training data (about 74 %)",
    "3790c90535b9fdb358df30a280c78a2bceee638b196f75e0f73dc886bdc72460": "pneumonia in the "
    "training data (about 74 %)",
    "2deb3f5b88c0bf9ccee53159c66aebeec96405fdc66ba4d40f050e41c3596c6b": "bacterial among the "
    "pneumonias of the training data (about 65 %)",
}
"""Share of the finding, by the digest of the training data: those of the shipped models, with the
classes of each question. What is said of these data is said of no others."""

NUMBERS = {2: "two", 3: "three"}


def intended_use(run: Run) -> str:
    """Say what a run's model is for."""
    task = run.task.as_task()
    asked = f"how probable {words_of(task.positive)} is"
    if task.presupposed is not None:
        kinds = [short_words_of(name) for name in task.classes]
        asked = f"whether {words_of(task.presupposed)} known to be there is {listed(kinds, 'or')}"
    child = " of a child" if run.provenance.data_digest in SHARES else ""
    return (
        f"Research and engineering of radiograph pipelines: an estimate of {asked} on one frontal "
        f"chest radiograph{child}. Not a medical device; not for decisions about a person's care."
    )


def limitations(run: Run) -> tuple[str, ...]:
    """List what limits a run's model."""
    task, share = run.task.as_task(), SHARES.get(run.provenance.data_digest)
    return (
        *_presupposes(task),
        _trained_on(run, is_known=share is not None),
        f"Knows {NUMBERS.get(len(task.classes), len(task.classes))} classes only: every other "
        "finding is called one of them.",
        "Frontal views (PA, AP) only; laterals, other body parts and other modalities are outside. "
        "The scope gate finds most of them, and knows layouts rather than anatomy.",
        f"Probabilities are calibrated for the share of {share or _share(task)}; at another "
        "prevalence they are too high or too low, and PPV and NPV differ.",
        *_labels(is_known=share is not None),
    )


def _presupposes(task: Task) -> tuple[str, ...]:
    if task.presupposed is None:
        return ()
    whole = words_of(task.presupposed)
    return (
        f"Presupposes {whole}: of a radiograph without {whole} the answer means nothing, and the "
        "scope gate does not find all of these.",
    )


def _trained_on(run: Run, *, is_known: bool) -> str:
    if is_known:
        return (
            "Trained on radiographs of children aged one to five from one hospital (Guangzhou "
            "Women and Children's Medical Center); adults, other hospitals and other devices may "
            "be read wrongly."
        )
    images, patients = run.provenance.images, run.provenance.patients
    return (
        f"Trained on {images['train']} radiographs of {patients['train']} patients; other ages, "
        "hospitals and devices than theirs may be read wrongly."
    )


def _share(task: Task) -> str:
    return f"{words_of(task.positive)} in the training data"


def _labels(*, is_known: bool) -> tuple[str, ...]:
    if not is_known:
        return ()
    return (
        "Labels of the training data come from graded readings of images, not from microbiology.",
    )
