"""Command line: ``python -m export build|verify|evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cxr.command import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    build = commands.add_parser("build", help="build the bundle of a run")
    build.add_argument("--run", type=Path, required=True, help="run directory")
    build.add_argument("--out", type=Path, required=True, help="folder of bundles")

    verify = commands.add_parser("verify", help="check digests, goldens and parity of a bundle")
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")

    evaluate = commands.add_parser("evaluate", help="score a labelled folder as the service would")
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.add_argument("--data", type=Path, required=True, help="folder that holds train/ ...")
    evaluate.add_argument(
        "--split", default="test", help="train, val, test, or internal-train, -val, -test"
    )
    evaluate.add_argument(
        "--split-file", type=Path, help="for internal parts; default: models/NAME/split.csv"
    )
    evaluate.add_argument("--engine", choices=("onnxruntime", "pytorch"), default="onnxruntime")
    evaluate.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    evaluate.add_argument("--json", type=Path, help="write metrics and every probability here")
    evaluate.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _build(arguments: argparse.Namespace) -> None:
    from export.build import build_bundle

    print(f"bundle written to {build_bundle(arguments.run, arguments.out)}")


def _verify(arguments: argparse.Namespace) -> None:
    from export.verify import verify_bundle

    bundle, parity = verify_bundle(arguments.bundle, arguments.provider)
    print(
        f"{bundle.manifest.name} {bundle.manifest.version} is intact: "
        f"{len(bundle.manifest.files)} files, goldens matched, logits within "
        f"{parity.max_logit_difference:.1e} of PyTorch (allowed {parity.tolerance:.0e})"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from cxr.bundle import open_bundle
    from cxr.networks.served import served_network
    from cxr.split import SPLIT_NAME, select_images
    from export.engine import ExportEngine, OrtEngine, TorchEngine
    from export.evaluate import evaluate_bundle, format_table

    bundle = open_bundle(arguments.bundle)
    manifest = bundle.manifest
    split_file = arguments.split_file or Path("models") / manifest.name / SPLIT_NAME
    images = select_images(arguments.data, arguments.split, manifest.task.as_task(), split_file)
    engine: ExportEngine
    if arguments.engine == "pytorch":
        engine = TorchEngine(served_network(bundle.weights_path, manifest))
    else:
        engine = OrtEngine(bundle.model_path, manifest, arguments.provider)
    evaluation = evaluate_bundle(bundle, engine, images, arguments.split, arguments.quiet)
    print(format_table(evaluation))
    for name in evaluation.unreadable:
        print(f"unreadable, left out: {name}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(evaluation.model_dump_json(indent=2) + "\n")


COMMANDS = {"build": _build, "verify": _verify, "evaluate": _evaluate}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0, 1 for an error that is told in one line, 130 when interrupted.
    """
    parsed = _parser().parse_args(arguments)
    return run_command(
        lambda: COMMANDS[parsed.command](parsed),
        when_interrupted="interrupted; nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main())
