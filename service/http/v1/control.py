"""POST /v1/models/{name}:load, :unload and :rollback."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from cxr.section import first_complaint
from service.answers import ModelVersionsAnswer
from service.errors import InvalidRequestError, ModelControlDisabledError
from service.http.json_body import BYTE_ORDER_MARK
from service.http.receive import runtime_of
from service.http.v1.catalogue import describe_versions
from service.models.runtime import Runtime
from service.web.bodies import BodyBudget, BodyRate, receive_body, verify_query
from service.web.documented import problem_responses, schema_of
from service.web.requests import context_of

router = APIRouter(prefix="/v1/models", tags=["models"])

PROBLEMS = problem_responses(400, 404, 408, 409, 413, 429, 500, 501, 503, 504)
MAX_BODY_BYTES = 4096  # a version's number and a word


class VersionChoice(BaseModel):
    """Names a version."""

    model_config = ConfigDict(extra="forbid")

    version: str | None = Field(None, max_length=128, description="As in /v1/models.")


class LoadChoice(VersionChoice):
    """Names a version to load."""

    activate: bool | None = Field(
        None, description="false: it only stands by for requests that name it. By default true."
    )


BODIES = (VersionChoice, LoadChoice)
Choice = TypeVar("Choice", bound=VersionChoice)


def body_of(kind: type[VersionChoice]) -> dict[str, Any]:
    """Describe an optional body in OpenAPI."""
    return {"requestBody": {"content": {"application/json": {"schema": schema_of(kind)}}}}


@router.post(
    "/{name}:load",
    summary="Load a version and let it answer",
    responses=PROBLEMS,
    openapi_extra=body_of(LoadChoice),
)
async def load_model(request: Request, name: str) -> ModelVersionsAnswer:
    """Load the named version, or the newest on disk. Answered once it has taken over.

    It is verified and warmed beside the active one, which finishes its requests. A failure changes
    nothing, and neither does a repeat.
    """
    runtime, wanted = _begin(request), await _read(request, LoadChoice)
    with runtime.lifecycle.accepted_request():
        context_of(request).timeline.fields.update(model=name, model_version=wanted.version)
        await runtime.deployment.load(name, wanted.version, activate=wanted.activate is not False)
        return _answer(runtime, name)


@router.post(
    "/{name}:unload",
    summary="Unload a version, or a model",
    responses=PROBLEMS,
    openapi_extra=body_of(VersionChoice),
)
async def unload_model(request: Request, name: str) -> ModelVersionsAnswer:
    """Unload a standby version, or without one the whole model. Answered once it is gone.

    Its requests are finished first. A repeat changes nothing.
    """
    runtime, wanted = _begin(request), await _read(request, VersionChoice)
    with runtime.lifecycle.accepted_request():
        context_of(request).timeline.fields.update(model=name, model_version=wanted.version)
        await runtime.deployment.unload(name, wanted.version)
        return _answer(runtime, name)


@router.post(
    "/{name}:rollback",
    summary="Let a former version answer again",
    responses=PROBLEMS,
    openapi_extra=body_of(VersionChoice),
)
async def roll_back_model(request: Request, name: str) -> ModelVersionsAnswer:
    """Return to the named version, or to the previously active one.

    At once if it is still loaded, else after loading it. With a version a repeat changes nothing;
    without one it goes back one more.
    """
    runtime, wanted = _begin(request), await _read(request, VersionChoice)
    with runtime.lifecycle.accepted_request():
        context_of(request).timeline.fields.update(model=name, model_version=wanted.version)
        await runtime.deployment.roll_back(name, wanted.version)
        return _answer(runtime, name)


def _begin(request: Request) -> Runtime:
    runtime = runtime_of(request)
    if runtime.settings.model_control != "on":
        raise ModelControlDisabledError(
            "Versions cannot be changed over HTTP here. The operator can allow it "
            "(CXR_MODEL_CONTROL=on)."
        )
    verify_query(request)
    return runtime


async def _read(request: Request, kind: type[Choice]) -> Choice:
    budget = cast("BodyBudget", request.app.state.body_budget)
    rate, deadline = BodyRate.of(runtime_of(request).settings), context_of(request).deadline
    with budget.lease() as lease:
        chunks = receive_body(request, MAX_BODY_BYTES, rate, deadline, lease=lease)
        body = b"".join([chunk async for chunk in chunks])
    try:
        return kind.model_validate_json(body.removeprefix(BYTE_ORDER_MARK) or b"{}")
    except ValidationError as error:
        raise InvalidRequestError(
            f"The body is not valid at {first_complaint(error)}. It is a JSON object, such as "
            '{"version": "1.0.0"}.'
        ) from None


def _answer(runtime: Runtime, name: str) -> ModelVersionsAnswer:
    versions = runtime.models.versions_of(name)
    active = versions.active
    return ModelVersionsAnswer(
        model=name,
        active=active and active.key,
        versions=describe_versions(runtime, versions),
    )
