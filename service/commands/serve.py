"""``python -m service serve``: answer over HTTP."""

from __future__ import annotations

import argparse

from service.commands.parsing import Commands, add_tls


def add_parser(commands: Commands) -> None:
    """Add ``serve``."""
    parser = commands.add_parser("serve", help="answer over HTTP (the default command)")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 picks a free one")
    parser.add_argument("--bundles", metavar="DIR", help="folder of bundles, or one bundle")
    add_tls(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until a signal ends it."""
    from service.engines.machine import usable_cores
    from service.settings import load_settings
    from service.workers.spawning import spawned_workers

    settings = load_settings(
        host=args.host,
        port=args.port,
        bundles_dir=args.bundles,
        tls_certificate=args.tls_certificate,
        tls_key=args.tls_key,
    )
    count = (settings.workers or usable_cores()) if settings.isolation == "processes" else 0
    with spawned_workers(count, settings.log_level) as workers:
        from service.app.server import serve  # a second's work, beside theirs

        serve(settings, workers)
