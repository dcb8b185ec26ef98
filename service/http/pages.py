"""Pages for people, with relative links that bear a path prefix."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ASSETS_PATH = "/docs-assets"
PAGE_PATH = "/page"

INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

PAGE_HEADERS = {
    # Nothing but our own files runs or is fetched: text of a file can at worst be shown.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # revalidated by ETag: no stale script after an update
}


class PageFiles(StaticFiles):
    """Our pages' files, with security headers."""

    def __init__(self) -> None:
        super().__init__(directory=Path(__file__).parent / "page")

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file or 304."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(PAGE_HEADERS)
        return response


page_files = PageFiles()
router = APIRouter(include_in_schema=False)


@router.get("/")
async def reader(request: Request) -> Response:
    """Show the page for reading radiographs."""
    return await page_files.get_response("index.html", request.scope)


@router.get("/docs/problems")
async def problems(request: Request) -> Response:
    """Explain the types of problems."""
    return await page_files.get_response("problems.html", request.scope)


@router.get("/docs")
async def documentation(request: Request) -> HTMLResponse:
    """Show the OpenAPI document interactively."""
    root_path = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root_path}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root_path}{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root_path}{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root_path}{ASSETS_PATH}/favicon.png",
    )
    page.headers.update(PAGE_HEADERS)
    page.headers["Content-Security-Policy"] = _policy_of(bytes(page.body))
    return page


def _policy_of(page: bytes) -> str:
    hashes = [b64encode(sha256(script).digest()).decode() for script in INLINE.findall(page)]
    named = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src 'self' {named}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def documentation_assets() -> StaticFiles:
    """Serve script and style from an installed package."""
    return StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
