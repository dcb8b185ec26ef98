"""GET /: sends people to the documentation."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> RedirectResponse:
    """Redirect to the interactive documentation."""
    return RedirectResponse("docs", status_code=307)
