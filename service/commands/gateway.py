"""``python -m service gateway``: receive DICOM, have it analysed, deliver the results."""

from __future__ import annotations

import argparse

from service.commands.parsing import Commands, add_tls


def add_parser(commands: Commands) -> None:
    """Add ``gateway``."""
    parser = commands.add_parser("gateway", help="take DICOM, have it read, deliver the results")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port of HTTP; 0 picks a free one")
    add_tls(parser)


def run(args: argparse.Namespace) -> None:
    """Run the gateway until a signal ends it."""
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
