"""An archive that forgets: takes objects by STOW-RS, counts them, and costs next to nothing.

``python -m benchmarks.gateway.archive PORT``
"""

from __future__ import annotations

import sys
import time

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from service.gateway.deliver.stow_answer import MEDIA_TYPE, Stored, build_stow_answer
from service.gateway.header import read_header_of
from service.multipart import split_related


def build_archive() -> FastAPI:
    """Build it."""
    app = FastAPI(openapi_url=None)
    seen: dict[str, float] = {}

    @app.get("/")
    async def count() -> dict[str, float]:
        return {"objects": len(seen), "last_s": max(seen.values(), default=0.0)}

    @app.post("/dicom-web/studies")
    @app.post("/dicom-web/studies/{study}")
    async def store(request: Request) -> JSONResponse:
        stored = []
        for part in split_related(request.headers["content-type"], await request.body()):
            header = read_header_of(part)
            stored.append(Stored(header.sop_class_uid, header.sop_instance_uid))
            seen[header.sop_instance_uid] = time.monotonic()
        return JSONResponse(build_stow_answer(stored, []), media_type=MEDIA_TYPE)

    return app


if __name__ == "__main__":
    uvicorn.run(build_archive(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
