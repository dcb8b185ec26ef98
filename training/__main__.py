"""Command line: ``python -m training COMMAND``; ``--help`` names them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from cxr.arguments import add_data, add_quiet
from cxr.command import run_command
from training.commands.arguments import Commands, add_compute, compute_of
from training.commands.explore import add_explore, run_explore
from training.commands.family import add_ensemble, add_svm, run_ensemble, run_svm
from training.commands.gan import add_gan, run_gan, run_gan_effect, run_synthesize
from training.commands.search import add_search, run_search
from training.commands.series import add_cv, add_dummy, run_cv, run_dummy
from training.commands.train import add_train, run_train


def build_parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    add_train(commands)
    add_cv(commands)
    add_dummy(commands)
    evaluate = commands.add_parser("evaluate", help="measure a run and draw its figures")
    evaluate.add_argument("--run", type=Path, required=True)
    add_data(evaluate)
    evaluate.add_argument(
        "--split", default="test", help="train, val, test, or internal-train, -val, -test"
    )
    evaluate.add_argument("--out", type=Path, required=True, help="folder for the report")
    add_compute(evaluate)
    add_quiet(evaluate)

    compare = commands.add_parser("compare", help="put runs or evaluations side by side")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    compare.add_argument("--part", default="test", choices=("val", "test"))
    compare.add_argument("--operating-point", default="balanced")
    compare.add_argument("--out", type=Path, help="folder for table and figure")
    _add_explaining(commands)
    _add_limits(commands)
    add_explore(commands)
    add_ensemble(commands)
    add_svm(commands)
    add_search(commands)
    add_gan(commands)
    return parser


def _add_explaining(commands: Commands) -> None:
    gradcam = commands.add_parser("gradcam", help="draw a sheet of images with their heatmaps")
    gradcam.add_argument("--run", type=Path, required=True)
    add_data(gradcam)
    gradcam.add_argument("--split", default="internal-test", help="as for evaluate")
    gradcam.add_argument("--n", type=int, default=16, help="images, evenly per class")
    gradcam.add_argument(
        "--method", default="gradcam", help="gradcam, gradcam_plus_plus or layercam"
    )
    gradcam.add_argument("--target", metavar="CLASS", help="default: the finding's first class")
    gradcam.add_argument("--seed", type=int, default=0, help="of the choice of images")
    gradcam.add_argument("--out", type=Path, required=True, help="PNG file to write")
    add_compute(gradcam)

    faithfulness = commands.add_parser("faithfulness", help="measure what the heatmaps are worth")
    faithfulness.add_argument("--run", type=Path, required=True)
    add_data(faithfulness)
    faithfulness.add_argument("--split", default="internal-test", help="as for evaluate")
    faithfulness.add_argument("--n", type=int, default=200, help="images, evenly per class")
    faithfulness.add_argument("--methods", default="all", help="all, or names with commas")
    faithfulness.add_argument("--seed", type=int, default=0)
    faithfulness.add_argument("--out", type=Path, help="folder for figures, report and JSON")
    faithfulness.add_argument(
        "--save", action="store_true", help="write explanation.json into the run, for its card"
    )
    add_compute(faithfulness)
    add_quiet(faithfulness)


def _add_limits(commands: Commands) -> None:
    limits = commands.add_parser("limits", help="fit and measure scope gate and abstaining anew")
    limits.add_argument("--run", type=Path, required=True, help="changed in place")
    add_data(limits)
    for flag, text in (
        ("--frontal", "frontal radiographs of another hospital: fitted on, measured by halves"),
        ("--in-scope", "further frontal radiographs, only measured"),
        ("--out-of-scope", "pictures of anything else, only measured"),
    ):
        limits.add_argument(flag, action="append", default=[], metavar="NAME=DIR", help=text)
    limits.add_argument(
        "--ages", type=float, nargs=2, metavar=("FROM", "TO"), help="years; default: the recipe's"
    )
    add_compute(limits)
    add_quiet(limits)


def _evaluate(arguments: argparse.Namespace) -> None:
    from training.runs.evaluate import evaluate_run

    report = evaluate_run(
        arguments.run,
        arguments.data,
        arguments.split,
        arguments.out,
        compute_of(arguments),
        quiet=arguments.quiet,
    )
    print(f"report written to {report}")


def _compare(arguments: argparse.Namespace) -> None:
    from training.runs.compare import compare_runs

    print(compare_runs(arguments.runs, arguments.part, arguments.operating_point, arguments.out))


def _gradcam(arguments: argparse.Namespace) -> None:
    from training.heatmaps.sheet import SheetPlan, write_sheet
    from training.heatmaps.subject import method_named

    plan = SheetPlan(
        split=arguments.split,
        n=arguments.n,
        method=method_named(arguments.method),
        target=arguments.target,
        seed=arguments.seed,
    )
    compute = compute_of(arguments)
    sheet = write_sheet(arguments.run, arguments.data, plan, arguments.out, compute)
    print(f"sheet written to {sheet}")


def _faithfulness(arguments: argparse.Namespace) -> None:
    from cxr.bundles.digest import verify_replaceable
    from cxr.explain.evidence import EVIDENCE_NAME
    from cxr.explain.evidence_text import evidence_markdown
    from training.heatmaps.faithfulness import Plan, measure_faithfulness, save_evidence
    from training.heatmaps.faithfulness_report import write_report
    from training.heatmaps.subject import methods_named

    plan = Plan(
        split=arguments.split,
        n=arguments.n,
        methods=methods_named(arguments.methods),
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


def _limits(arguments: argparse.Namespace) -> None:
    from training.reliability.limits import Elsewhere
    from training.reliability.refit import format_limits, limit_run, named_folder

    elsewhere = Elsewhere(
        frontal=tuple(map(named_folder, arguments.frontal)),
        in_scope=tuple(map(named_folder, arguments.in_scope)),
        out_of_scope=tuple(map(named_folder, arguments.out_of_scope)),
    )
    ages = None if arguments.ages is None else (arguments.ages[0], arguments.ages[1])
    compute = compute_of(arguments)
    run = limit_run(
        arguments.run, arguments.data, elsewhere, compute, ages=ages, quiet=arguments.quiet
    )
    print(format_limits(run))


COMMANDS = {
    "train": run_train,
    "cv": run_cv,
    "dummy-class": run_dummy,
    "evaluate": _evaluate,
    "compare": _compare,
    "gradcam": _gradcam,
    "faithfulness": _faithfulness,
    "limits": _limits,
    "explore": run_explore,
    "ensemble": run_ensemble,
    "svm": run_svm,
    "search": run_search,
    "gan": run_gan,
    "synthesize": run_synthesize,
    "gan-effect": run_gan_effect,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0, 1 for an error that is told in one line, 130 when interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return run_command(
        lambda: COMMANDS[parsed.command](parsed),
        when_interrupted="interrupted; the same command goes on after the last whole epoch",
    )


if __name__ == "__main__":
    sys.exit(main())
