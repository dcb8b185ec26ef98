"""Pages for people: the interactive documentation. No other host is asked for anything."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

ASSETS_PATH = "/docs-assets"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> RedirectResponse:
    """Redirect to the interactive documentation."""
    return RedirectResponse("docs", status_code=307)


@router.get("/docs")
async def documentation(request: Request) -> HTMLResponse:
    """Show the OpenAPI document as a page on which requests can be tried."""
    root_path = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root_path}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root_path}{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root_path}{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root_path}{ASSETS_PATH}/favicon.png",
    )


def documentation_assets() -> StaticFiles:
    """Serve the script and the style of the page, from an installed package."""
    return StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
