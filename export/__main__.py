"""Command line: ``python -m export build|quantize|reference|verify|evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cxr.bundles.manifest import EXPLAIN_NAME, FP32
from cxr.command_line import add_data, add_quiet, run_command

ENGINES = ("onnxruntime", "openvino", "pytorch")
PRECISIONS = (FP32, "int8", "bf16", "fp16")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    build = commands.add_parser("build", help="build the bundle of a run")
    build.add_argument("--run", type=Path, required=True, help="run directory")
    build.add_argument("--out", type=Path, required=True, help="folder of bundles")

    quantize = commands.add_parser(
        "quantize", help="measure on the data what eight bits need and cost; kept in the run"
    )
    quantize.add_argument("--run", type=Path, required=True, help="run directory")
    add_data(quantize)
    quantize.add_argument(
        "--images", type=_count, default=256, help="training images to measure ranges on"
    )
    quantize.add_argument("--threads", type=_count, default=1, help="of one run of the graph")
    add_quiet(quantize)

    reference = commands.add_parser(
        "reference", help="answer the validation images, for telling drift; kept in the run"
    )
    reference.add_argument("--run", type=Path, required=True, help="run directory")
    reference.add_argument("--bundle", type=Path, required=True, help="built of that run")
    add_data(reference)
    add_quiet(reference)

    verify = commands.add_parser("verify", help="check digests, goldens and parity of a bundle")
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")

    evaluate = commands.add_parser("evaluate", help="score a labelled folder as the service would")
    evaluate.add_argument("--bundle", type=Path, required=True)
    source = evaluate.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        type=Path,
        action="append",
        help="folder that holds train/ ..., or class folders alone; repeat it for several sets",
    )
    source.add_argument(
        "--csv",
        type=Path,
        help="file with columns path and label, and perhaps patient, population and source",
    )
    evaluate.add_argument(
        "--by",
        type=_keys,
        default=(),
        metavar="KEYS",
        help="measure each group, too: population, source, or population,source",
    )
    evaluate.add_argument(
        "--split",
        help="train, val, test, or internal-train, -val, -test; default: test, if there are any",
    )
    evaluate.add_argument(
        "--label-map", default="", help="what other labels are: HEALTHY=NORMAL,OTHER="
    )
    evaluate.add_argument(
        "--split-file", type=Path, help="for internal parts; default: models/NAME/split.csv"
    )
    evaluate.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    evaluate.add_argument("--precision", choices=PRECISIONS, default=FP32)
    evaluate.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    evaluate.add_argument("--json", type=Path, help="write metrics and every probability here")
    add_quiet(evaluate)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(one.strip() for one in text.split(","))
    if not set(keys) <= {"population", "source"} or len(set(keys)) < len(keys):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of population, source and population,source"
        )
    return keys


def _build(arguments: argparse.Namespace) -> None:
    from export.build import build_bundle

    path = build_bundle(arguments.run, arguments.out)
    print(f"bundle written to {path}")
    if not (path / EXPLAIN_NAME).is_file():
        print(f"without {EXPLAIN_NAME}: explaining this network takes PyTorch", file=sys.stderr)


def _quantize(arguments: argparse.Namespace) -> None:
    from export.int8 import INT8_NAME
    from export.quantize import quantize_run

    run, data = arguments.run, arguments.data
    f = quantize_run(run, data, arguments.images, arguments.threads, arguments.quiet).figures
    print(
        f"{run / INT8_NAME} written; on {f.images} {f.part} images against fp32: AUROC "
        f"{f.auroc.value:.4f} ({f.auroc_fp32.value:.4f}), probabilities differ by "
        f"{f.mean.probabilities:.4f} on average and {f.largest.probabilities:.4f} at most, "
        f"{f.decisions_changed} decisions change, {f.out_of_scope} ({f.out_of_scope_fp32}) "
        "are out of scope"
    )


def _reference(arguments: argparse.Namespace) -> None:
    from cxr.bundles.bundle import open_bundle
    from export.reference import REFERENCE_NAME, measure_reference

    run, bundle = arguments.run, open_bundle(arguments.bundle)
    found = measure_reference(run, bundle, arguments.data, arguments.quiet)
    print(
        f"{run / REFERENCE_NAME} written: {found.images} {found.part} images; positive, refer and "
        f"out of scope are {found.share('positive'):.1%}, {found.share('refer'):.1%} and "
        f"{found.share_out_of_scope:.1%}"
    )


def _verify(arguments: argparse.Namespace) -> None:
    from export.verify import verify_bundle

    bundle, parity, precisions = verify_bundle(arguments.bundle, arguments.provider)
    print(
        f"{bundle.manifest.name} {bundle.manifest.version} is intact: "
        f"{len(bundle.manifest.files)} files, goldens matched ({', '.join(precisions)}), "
        f"logits in fp32 within {parity.max_logit_difference:.1e} of PyTorch "
        f"(allowed {parity.tolerance:.0e})"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from cxr.bundles.bundle import open_bundle
    from export.engines import build_runner
    from export.evaluate import evaluate_bundle, format_table, labelled_images

    bundle = open_bundle(arguments.bundle)
    images, called = labelled_images(
        bundle.manifest,
        data=arguments.data,
        csv=arguments.csv,
        split=arguments.split,
        split_file=arguments.split_file,
        label_map=arguments.label_map,
    )
    engine = build_runner(bundle, arguments.engine, arguments.precision, arguments.provider)
    evaluation = evaluate_bundle(bundle, engine, images, called, arguments.quiet, arguments.by)
    print(format_table(evaluation))
    for name in evaluation.unreadable:
        print(f"unreadable, left out: {name}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(evaluation.model_dump_json(indent=2) + "\n")


COMMANDS = {
    "build": _build,
    "quantize": _quantize,
    "reference": _reference,
    "verify": _verify,
    "evaluate": _evaluate,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parsed = _parser().parse_args(arguments)
    return run_command(
        lambda: COMMANDS[parsed.command](parsed),
        when_interrupted="interrupted; nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main())
