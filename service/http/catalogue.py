"""GET /v1/models: what is loaded."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from service.answers import ModelAnswer, ModelsAnswer
from service.http.context import runtime_of
from service.http.documented import problem_responses

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", summary="List the loaded models", responses=problem_responses(503))
async def list_models(request: Request) -> ModelsAnswer:
    """All loaded models with their operating points, metrics and limitations."""
    models = runtime_of(request).models
    return ModelsAnswer(
        models=tuple(
            model.describe(default=model.manifest.name == models.default) for model in models
        )
    )


@router.get(
    "/models/{name}", summary="Describe a loaded model", responses=problem_responses(404, 503)
)
async def describe_model(request: Request, name: str) -> ModelAnswer:
    """One loaded model by its name."""
    models = runtime_of(request).models
    return models.get(name).describe(default=name == models.default)
