"""Command line: ``python -m service``, its commands in ``COMMANDS``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cxr.command import FAILED, OK, run_command
from service.commands.drift_parser import add_drift_parser
from service.commands.jobs_parser import add_jobs_parser
from service.commands.keys import add_keys_parser, run_keys
from service.commands.shadow_parser import add_shadow_parser
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from service.models.loading import LoadedModel

USAGE = 2  # argparse's own exit code


def build_parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Chest-radiograph inference. Research use only, not a medical device.",
        epilog="Everything else is set by CXR_* variables; see the configuration page.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer over HTTP (the default command)")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", type=int, help="port to listen on; 0 picks a free one")
    serve.add_argument("--bundles", metavar="DIR", help="folder of bundles, or one bundle")
    _add_tls(serve)
    predict = commands.add_parser("predict", help="score files and folders without a server")
    predict.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    predict.add_argument("--model", help="name or name@version; the default model")
    predict.add_argument("--bundles", metavar="DIR", help="folder of bundles, or one bundle")
    predict.add_argument("--operating-point", metavar="P", help="named operating point")
    predict.add_argument("--out", type=Path, metavar="CSV", help="also write the results here")
    gateway = commands.add_parser("gateway", help="take DICOM, have it read, deliver the results")
    gateway.add_argument("--host", help="address to listen on")
    gateway.add_argument("--port", type=int, help="port of HTTP; 0 picks a free one")
    _add_tls(gateway)
    add_jobs_parser(commands)
    add_keys_parser(commands)
    add_drift_parser(commands)
    add_shadow_parser(commands)
    return parser


def _add_tls(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tls-certificate", metavar="PEM", help="answer over TLS with this chain")
    command.add_argument("--tls-key", metavar="PEM", help="its key")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0] not in COMMANDS and given[0] not in ("-h", "--help")):
        given.insert(0, "serve")
    args = build_parser().parse_args(given)
    run = COMMANDS[args.command]
    return run_command(lambda: run(args), when_interrupted="interrupted; nothing was written")


def _serve(args: argparse.Namespace) -> None:
    from service.app.server import serve  # the predict command needs no HTTP at all

    serve(
        load_settings(
            host=args.host,
            port=args.port,
            bundles_dir=args.bundles,
            tls_certificate=args.tls_certificate,
            tls_key=args.tls_key,
        )
    )


def _shadow(args: argparse.Namespace) -> int:
    from service.commands.shadow import run_shadow

    return run_shadow(args)


def _gateway(args: argparse.Namespace) -> None:
    from service.gateway.server import serve_gateway
    from service.gateway.settings import load_gateway_settings

    serve_gateway(
        load_gateway_settings(
            host=args.host,
            port=args.port,
            tls_certificate=args.tls_certificate,
            tls_key=args.tls_key,
        )
    )


def _jobs(args: argparse.Namespace) -> int:
    from service.commands.jobs import run_jobs
    from service.gateway.settings import load_gateway_settings

    return run_jobs(args, load_gateway_settings())


def _drift(args: argparse.Namespace) -> int:
    from service.commands.drift import run_drift

    return run_drift(args, args.bundles or load_settings().bundles_dir)


def _predict(args: argparse.Namespace) -> int:
    from service.commands.predict import (
        list_images,
        render_table,
        score_files,
        verify_writable,
        write_csv,
    )

    settings = load_settings(bundles_dir=args.bundles)
    try:
        files = list_images(args.paths)
    except FileNotFoundError as error:
        return _usage(f"no such file or folder: {error}")
    if not files:
        return _usage("there is no image in the folders given")
    if args.out is not None:
        try:
            verify_writable(args.out)
        except OSError as error:
            return _usage(f"cannot write {args.out}: {error.strerror}")
    model = _load_one(settings, args.model)
    try:
        point = model.bundle.manifest.operating_point(args.operating_point)
    except KeyError:
        valid = ", ".join(p.name for p in model.bundle.manifest.operating_points)
        return _usage(f"unknown operating point {args.operating_point}; valid are: {valid}")
    scoring = score_files(files, model, point, settings)
    scored = list(tqdm(scoring, total=len(files), unit="image"))
    print(render_table(scored))
    if args.out is not None:
        write_csv(scored, args.out)
    failed = sum(not one.is_ok for one in scored)
    if failed:
        print(f"{failed} of {len(scored)} files failed", file=sys.stderr)
    return FAILED if failed else OK


def _load_one(settings: Settings, name: str | None) -> LoadedModel:
    """Load the model asked for, or the one a server would use by default."""
    from service.engines.registry import build_engine
    from service.models.loading import load_models
    from service.models.models import default_name

    if name is not None:
        [model] = load_models(settings.model_copy(update={"models": name}), build_engine).values()
        return model
    models = load_models(settings, build_engine)
    return models[default_name(list(models), settings)]


def _usage(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USAGE


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "serve": _serve,
    "predict": _predict,
    "shadow": _shadow,
    "gateway": _gateway,
    "jobs": _jobs,
    "keys": run_keys,
    "drift": _drift,
}


if __name__ == "__main__":
    sys.exit(main())
