"""GET /v1/models."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from service.answers import ModelAnswer, ModelsAnswer, VersionAnswer
from service.http.receive import runtime_of
from service.models.models import ServedModel
from service.models.runtime import Runtime
from service.models.versions import Versions
from service.web.documented import problem_responses

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", summary="List the loaded models", responses=problem_responses(503))
async def list_models(request: Request) -> ModelsAnswer:
    """All loaded models with operating points, metrics and limitations.

    `versions` also lists the bundle repository: what could be loaded, and what cannot and why.
    """
    runtime = runtime_of(request)
    models = runtime.models
    return ModelsAnswer(
        models=tuple(
            model.describe(default=model.manifest.name == models.default) for model in models
        ),
        versions=tuple(
            version for one in models.every for version in describe_versions(runtime, one)
        ),
    )


@router.get(
    "/models/{name}", summary="Describe a loaded model", responses=problem_responses(404, 503)
)
async def describe_model(request: Request, name: str) -> ModelAnswer:
    """One loaded model by its name, or by `name@version`."""
    models = runtime_of(request).models
    return models.get(name).describe(default=name == models.default)


def describe_versions(
    runtime: Runtime, versions: Versions[ServedModel]
) -> tuple[VersionAnswer, ...]:
    """Describe every version of a model."""
    return tuple(
        VersionAnswer(
            model=versions.model,
            version=version.number,
            state=version.state,
            reason=version.reason,
            folder=version.folder,
            sha256=version.payload and version.payload.loaded.bundle.sha256,
            shadow=runtime.deployment.is_shadow(versions.model, version.key),
        )
        for version in versions
    )
