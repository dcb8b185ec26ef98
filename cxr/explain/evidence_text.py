"""The evidence as Markdown, for the model card and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cxr.explain.evidence import Curves, ExplanationEvidence
from cxr.metrics.estimate import Estimate, format_estimate

GROUPS = {
    "true_positive": "positive images called positive, explained as positive",
    "true_negative": "negative images called negative, explained as negative",
}
BASELINES = {
    "donor": "the same place of an image of the other class",
    "blur": "the image itself, blurred",
}


def curves_markdown(curves: Curves) -> str:
    """Deletion and insertion of one group over one baseline, all methods."""
    rows = []
    for method, deletion in curves.deletion.items():
        insertion = curves.insertion[method]
        rows.append(
            (
                method,
                _text(deletion.area),
                _text(deletion.difference, signed=True),
                _text(insertion.area),
                _text(insertion.difference, signed=True),
            )
        )
    header = ("method", "deletion area", "less random", "insertion area", "less random")
    return "\n".join(
        [
            f"{curves.images} {GROUPS[curves.group]}; removed blocks become "
            f"{BASELINES[curves.baseline]}. Probability of the explained class intact "
            f"{_text(curves.intact)}, all removed {_text(curves.removed)}; area for random maps "
            f"{_text(curves.random)}.",
            "",
            _table(header, rows),
        ]
    )


def randomisation_markdown(evidence: ExplanationEvidence) -> str:
    """Rank correlation after each stage, all methods, and the reference."""
    methods = list(evidence.randomisation)
    stages = [row.stage for row in evidence.randomisation[methods[0]].stages]
    rows = [
        (
            f"down to {stage}",
            *(
                _text(evidence.randomisation[method].stages[i].likeness.spearman)
                for method in methods
            ),
        )
        for i, stage in enumerate(stages)
    ]
    references = [evidence.randomisation[method].reference for method in methods]
    rows.append(("two patients, nothing randomised", *(_text(r.spearman) for r in references)))
    ends = [evidence.randomisation[method].stages[-1].likeness.ssim for method in methods]
    rows.append(("SSIM, all randomised", *map(_text, ends)))
    rows.append(("SSIM, two patients", *(_text(r.ssim) for r in references)))
    return _table(("rank correlation with the trained network's map", *methods), rows)


def lung_markdown(evidence: ExplanationEvidence) -> str:
    """Share of the heat inside the lung field, all methods."""
    rows = [
        (method, _text(share.heat), _text(share.shuffled), _text(share.ratio))
        for method, share in evidence.lung_share.items()
    ]
    return _table(("method", "heat in the lungs", "the same heat shuffled", "heat by area"), rows)


def evidence_markdown(evidence: ExplanationEvidence) -> str:
    """Give all tables, each under its heading."""
    parts = ["Deletion and insertion"]
    parts += [curves_markdown(curves) for curves in evidence.curves]
    parts += ["Randomised weights", randomisation_markdown(evidence)]
    area = _text(evidence.lung_area)
    parts += [f"Lung field ({area} of the image)", lung_markdown(evidence)]
    return "\n\n".join(parts)


def _text(estimate: Estimate, signed: bool = False) -> str:
    text = format_estimate("share", estimate)
    return f"+{text}" if signed and estimate.value is not None and estimate.value > 0 else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
