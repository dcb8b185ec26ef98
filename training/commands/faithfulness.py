"""``python -m training faithfulness``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    faithfulness = commands.add_parser("faithfulness", help="measure what the heatmaps are worth")
    faithfulness.add_argument("--run", type=Path, required=True)
    add_data(faithfulness)
    faithfulness.add_argument("--split", default="internal-test", help="as for evaluate")
    faithfulness.add_argument("--n", type=int, default=200, help="images, evenly per class")
    faithfulness.add_argument("--methods", default="all", help="all, or names with commas")
    faithfulness.add_argument("--lungs", type=Path, help="lung segmenter; default: models/lungs")
    faithfulness.add_argument(
        "--localisation", type=Path, help="folder of images/ and infection_masks/, to point at"
    )
    faithfulness.add_argument("--seed", type=int, default=0)
    faithfulness.add_argument("--out", type=Path, help="folder for figures, report and JSON")
    faithfulness.add_argument(
        "--save", action="store_true", help="write explanation.json into the run, for its card"
    )
    add_compute(faithfulness)
    add_quiet(faithfulness)
    return faithfulness


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, and write what the arguments ask for."""
    from cxr.explain.evidence import EVIDENCE_NAME, evidence_markdown
    from cxr.files import verify_replaceable
    from training.heatmaps.explaining import methods_named
    from training.heatmaps.faithfulness import (
        FaithfulnessPlan,
        measure_faithfulness,
        save_evidence,
    )
    from training.heatmaps.faithfulness_report import write_report
    from training.runs.job import SEGMENTER

    plan = FaithfulnessPlan(
        split=arguments.split,
        n=arguments.n,
        methods=methods_named(arguments.methods),
        lungs=arguments.lungs or SEGMENTER,
        localisation=arguments.localisation,
        seed=arguments.seed,
        quiet=arguments.quiet,
    )
    if arguments.out:
        verify_replaceable(arguments.out, EVIDENCE_NAME)
    findings = measure_faithfulness(arguments.run, arguments.data, plan, compute_of(arguments))
    print(evidence_markdown(findings.evidence))
    if arguments.save:
        print(f"evidence written to {save_evidence(findings.evidence, arguments.run)}")
    if arguments.out:
        print(f"report written to {write_report(findings, arguments.out)}")
