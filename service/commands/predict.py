"""``python -m service predict``: read files and folders without a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.command_line import FAILED, OK
from service.commands.parsing import Commands

if TYPE_CHECKING:
    from service.models.loading import LoadedModel
    from service.settings import Settings

USAGE = 2  # argparse's own exit code


def add_parser(commands: Commands) -> None:
    """Add ``predict``."""
    parser = commands.add_parser("predict", help="score files and folders without a server")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--model", help="name or name@version; the default model")
    parser.add_argument("--bundles", metavar="DIR", help="folder of bundles, or one bundle")
    parser.add_argument("--operating-point", metavar="P", help="named operating point")
    parser.add_argument("--out", type=Path, metavar="CSV", help="also write the results here")


def run(args: argparse.Namespace) -> int:
    """Print a table of results; fail if any file failed."""
    from tqdm import tqdm

    from service.commands import scoring
    from service.settings import load_settings

    settings = load_settings(bundles_dir=args.bundles)
    try:
        files = scoring.list_images(args.paths)
    except FileNotFoundError as error:
        return _usage(f"no such file or folder: {error}")
    if not files:
        return _usage("there is no image in the folders given")
    if args.out is not None:
        try:
            scoring.verify_writable(args.out)
        except OSError as error:
            return _usage(f"cannot write {args.out}: {error.strerror}")
    model = _load_one(settings, args.model)
    try:
        point = model.bundle.manifest.operating_point(args.operating_point)
    except KeyError:
        valid = ", ".join(p.name for p in model.bundle.manifest.operating_points)
        return _usage(f"unknown operating point {args.operating_point}; valid are: {valid}")
    scored_files = scoring.score_files(files, model, point, settings)
    scored = list(tqdm(scored_files, total=len(files), unit="image"))
    print(scoring.render_table(scored))
    if args.out is not None:
        scoring.write_csv(scored, args.out)
    failed = sum(not one.is_ok for one in scored)
    if failed:
        print(f"{failed} of {len(scored)} files failed", file=sys.stderr)
    return FAILED if failed else OK


def _load_one(settings: Settings, name: str | None) -> LoadedModel:
    from service.engines.registry import build_engine
    from service.models.loading import load_models
    from service.models.models import default_name
    from service.settings import parse_models

    if name is not None:
        chosen = settings.model_copy(update={"models": parse_models(name)})
        [model] = load_models(chosen, build_engine).values()
        return model
    models = load_models(settings, build_engine)
    return models[default_name(list(models), settings)]


def _usage(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USAGE
