"""The model card, made from the manifest."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr.bundles.manifest import Manifest
from cxr.explain.evidence import ExplanationEvidence
from cxr.explain.evidence_text import curves_markdown, lung_markdown, randomisation_markdown
from cxr.metrics.estimate import format_estimate
from export.int8_file import Int8File

TEMPLATES_DIR = Path(__file__).parent / "templates"


def render_card(
    manifest: Manifest,
    notes: tuple[str, ...],
    evidence: ExplanationEvidence | None = None,
    int8: Int8File | None = None,
) -> str:
    """Render MODEL_CARD.md.

    Args:
        manifest: Of the bundle.
        notes: What was tried in training, from the run.
        evidence: Whether heatmaps are worth anything, from the run; None if not measured.
        int8: How it was quantised, from the run; None if it was not.
    """
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
