"""Metadata and readiness."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from cxr import __version__
from service.http.receive import runtime_of
from service.http.v2.errors import PREFIX, error_responses
from service.http.v2.tensors import input_tensors, output_tensors
from service.http.v2.wire import (
    IndexEntry,
    ModelMetadata,
    ModelParameters,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.models.models import ServedModel

SERVER_NAME = "cxr-inference"
EXTENSIONS = ("binary_tensor_data",)
STATES = {"active": "READY", "standby": "READY", "loading": "LOADING"}

router = APIRouter(prefix=PREFIX, tags=["open inference protocol"])


@router.get("", summary="Describe the server")
async def server_metadata() -> ServerMetadata:
    """Name, version and extensions of the protocol."""
    return ServerMetadata(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)


@router.get("/health/live", summary="Is the process of any use?", responses=error_responses(503))
async def server_live(request: Request) -> ServerLive:
    """200 throughout; 503 if the process should be replaced."""
    runtime_of(request).verify_live()
    return ServerLive(live=True)


@router.get("/health/ready", summary="Are inferences accepted?", responses=error_responses(503))
async def server_ready(request: Request) -> ServerReady:
    """200 once all models are loaded; 503 when draining."""
    runtime_of(request).lifecycle.verify_ready()
    return ServerReady(ready=True)


@router.post("/repository/index", summary="List the models", responses=error_responses(503))
async def repository_index(request: Request) -> list[IndexEntry]:
    """All versions of all models: READY, LOADING or UNAVAILABLE."""
    return [
        IndexEntry(
            name=versions.model,
            version=version.key,
            state=STATES.get(version.state, "UNAVAILABLE"),
            reason=version.reason,
        )
        for versions in runtime_of(request).models.every
        for version in versions
    ]


@router.get("/models/{name}", summary="Describe a model", responses=error_responses(404, 503))
async def model_metadata(request: Request, name: str) -> ModelMetadata:
    """Its tensors, classes and operating points."""
    return _describe(request, runtime_of(request).models.find(name, None).model)


@router.get(
    "/models/{name}/versions/{version}",
    summary="Describe a model of a version",
    responses=error_responses(404, 503),
)
async def version_metadata(request: Request, name: str, version: str) -> ModelMetadata:
    """Its tensors, classes and operating points."""
    return _describe(request, runtime_of(request).models.find(name, version).model)


@router.get(
    "/models/{name}/ready", summary="Is a model ready?", responses=error_responses(404, 503)
)
async def model_ready(request: Request, name: str) -> ModelReady:
    """200 if it answers."""
    return _ready(request, name, None)


@router.get(
    "/models/{name}/versions/{version}/ready",
    summary="Is a model of a version ready?",
    responses=error_responses(404, 503),
)
async def version_ready(request: Request, name: str, version: str) -> ModelReady:
    """200 if it answers."""
    return _ready(request, name, version)


def _ready(request: Request, name: str, version: str | None) -> ModelReady:
    served = runtime_of(request).models.find(name, version).model
    runtime_of(request).lifecycle.verify_ready()
    return ModelReady(name=served.manifest.name, ready=True)


def _describe(request: Request, served: ServedModel) -> ModelMetadata:
    manifest = served.manifest
    versions = runtime_of(request).models.versions_of(manifest.name)
    return ModelMetadata(
        name=manifest.name,
        versions=tuple(version.key for version in versions.loaded),
        platform=f"{served.loaded.engine.name}_onnx",
        inputs=input_tensors(manifest),
        outputs=output_tensors(manifest),
        parameters=ModelParameters(
            classes=manifest.task.classes,
            positive_class=manifest.task.positive,
            operating_points=tuple(point.name for point in manifest.operating_points),
            default_operating_point=manifest.default_operating_point,
        ),
    )
