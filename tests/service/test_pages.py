"""The endpoints beside prediction, and the OpenAPI document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.answers import HealthAnswer, ModelsAnswer
from service.http import pages
from service.web.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running, until

pytestmark = pytest.mark.anyio


async def test_models_tell_all_about_themselves(real_service: Running) -> None:
    """What an integrator must know of a model stands in the list."""
    response = await real_service.client.get("/v1/models")
    models = ModelsAnswer.model_validate_json(response.content).models
    assert {model.name: model.default for model in models} == {"cnn": False, "resnet18": True}
    model = models[1]
    assert model.classes == ("NORMAL", "PNEUMONIA")
    assert [point.name for point in model.operating_points] == ["balanced", "rule-out"]
    assert (model.input_size_px, model.architecture) == (32, "mean_grey")
    assert model.metrics["test"]["balanced"]["auroc"].low == 0.8
    assert (model.intended_use, model.limitations) == ("Tests.", ("Knows grey levels only.",))


async def test_one_model_is_described_as_in_the_list(real_service: Running) -> None:
    """The list and the page of one model agree."""
    listed = (await real_service.client.get("/v1/models")).json()["models"]
    for model in listed:
        one = await real_service.client.get(f"/v1/models/{model['name']}")
        assert one.json() == model


async def test_health_summarises(real_service: Running) -> None:
    """State, versions and queues for people."""
    response = await real_service.client.get("/health")
    health = HealthAnswer.model_validate_json(response.content)
    assert health.status == "ready"
    assert health.uptime_s > 0
    assert [(model.name, model.queue_depth) for model in health.models] == [
        ("cnn", 0),
        ("resnet18", 0),
    ]


async def test_failed_start_is_never_ready(bundles: Path, engine: FakeEngine) -> None:
    """Whoever runs the application under another server sees what happened."""
    engine.fails = True
    async with running(make_settings(bundles), engine.build, wait=False) as service:
        await until(lambda: service.runtime.lifecycle.state == "failed")
        assert (await service.client.get("/health")).json()["status"] == "failed"
        assert (await service.client.get("/health/ready")).status_code == 503


PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "javascript",
    ".svg": "image/svg+xml",
}
PAGE_FILES = sorted(path.name for path in (Path(pages.__file__).parent / "page").iterdir())


@pytest.mark.parametrize("path", ["/", "/docs/problems", *(f"/page/{name}" for name in PAGE_FILES)])
async def test_page_is_served_with_its_safeguards(real_service: Running, path: str) -> None:
    """Each file has its type, says what may run, and is not sent twice."""
    response = await real_service.client.get(path)
    assert response.status_code == 200
    suffix = Path(path).suffix or ".html"
    assert PAGE_TYPES[suffix] in response.headers["content-type"]
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    headers = {"If-None-Match": response.headers["etag"]}
    again = await real_service.client.get(path, headers=headers)
    assert (again.status_code, again.content) == (304, b"")


async def test_root_is_the_page_for_people(real_service: Running) -> None:
    """Its links lead somewhere and are relative, so that a path prefix does no harm."""
    page = (await real_service.client.get("/")).text
    assert "Research use only" in page
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert "docs" in links
    for link in links:
        assert not link.startswith(("/", "http"))
        assert (await real_service.client.get(f"/{link}")).status_code == 200


async def test_pages_work_under_a_path_prefix(real_service: Running) -> None:
    """As behind a proxy that tells the prefix: what the page names is found beside it."""
    transport = httpx.ASGITransport(real_service.app, root_path="/cxr")
    async with httpx.AsyncClient(transport=transport, base_url="http://test/cxr/") as client:
        for path in ("", "docs", "docs/problems"):
            response = await client.get(path)
            links = re.findall(r"(?:src|href)=\"([^\"]+)\"", response.text)
            assert links
            for link in links:
                if not link.startswith("https:"):
                    assert (await client.get(response.url.join(link))).status_code == 200


async def test_page_needs_nothing_inline(real_service: Running) -> None:
    """The policy would refuse it: no script, style or handler stands in the document."""
    for path in ("/", "/docs/problems"):
        page = (await real_service.client.get(path)).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page)


async def test_every_problem_type_leads_to_its_explanation(real_service: Running) -> None:
    """The type of a problem is an address with a heading."""
    page = (await real_service.client.get("/docs/problems")).text
    for kind in ALL_PROBLEM_TYPES:
        path, _, anchor = kind.type.partition("#")
        assert path == "/docs/problems"
        assert f'<h2 id="{anchor}">' in page


async def test_page_does_not_show_other_files(real_service: Running) -> None:
    """Nothing outside the page's folder is served with it."""
    for path in ("/page/../pages.py", "/page/%2e%2e/pages.py", "/page/", "/page/none.js"):
        assert (await real_service.client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/health/live", "/v1/models", "/docs", "/"])
async def test_head_is_get_without_a_body(real_service: Running, path: str) -> None:
    """Load balancers may probe with HEAD."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "HEAD", "path": path, "headers": [], "query_string": b""}
    await real_service.app(scope, None, send)  # httpx itself would hide a body
    start, *rest = messages
    assert start["status"] == 200
    assert int(dict(start["headers"])[b"content-length"]) > 0
    assert not any(message["body"] for message in rest)


async def test_options_names_the_methods(real_service: Running) -> None:
    """And grants no cross-origin request."""
    response = await real_service.client.options("/health", headers={"Origin": "http://evil"})
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in response.headers if name.startswith("access-control")]


async def get_openapi(service: Running) -> dict[str, Any]:
    """Give the OpenAPI document."""
    document: dict[str, Any] = (await service.client.get("/openapi.json")).json()
    return document


async def test_openapi_examples_run(real_service: Running) -> None:
    """Whoever copies an example gets an answer, and it is about an image in scope."""
    document = await get_openapi(real_service)
    body = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    examples = body["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        response = await real_service.client.post("/v1/predict", json=example["value"])
        results = response.json()["results"]
        assert [one["status"] for one in results] == ["ok"] * len(example["value"]["images"])
        assert all(one["scope"]["in_scope"] for one in results)


async def test_openapi_documents_bodies_and_problems(real_service: Running) -> None:
    """All ways to send an image and all statuses of the error table are there."""
    document = await get_openapi(real_service)
    post = document["paths"]["/v1/predict"]["post"]
    content = {"application/json", "multipart/form-data", "application/octet-stream"}
    assert set(post["requestBody"]["content"]) == content
    assert "image/jpeg, image/png, application/dicom" in post["requestBody"]["description"]
    expected = {
        "200",
        "400",
        "404",
        "406",
        "408",
        "413",
        "415",
        "422",
        "429",
        "500",
        "501",
        "503",
        "504",
    }
    assert set(post["responses"]) == expected
    problem = post["responses"]["429"]["content"][MEDIA_TYPE]
    assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "detail" in document["components"]["schemas"]["Problem"]["properties"]
    assert "not a medical device" in document["info"]["description"]


async def test_openapi_documents_no_status_that_is_never_answered(real_service: Running) -> None:
    """FastAPI's own validation error is not what a client gets."""
    document = await get_openapi(real_service)
    assert "HTTPValidationError" not in str(document)
    describe = document["paths"]["/v1/models/{name}"]["get"]
    assert set(describe["responses"]) == {"200", "404", "503"}


async def test_openapi_references_resolve(real_service: Running) -> None:
    """No reference of the document leads nowhere."""
    document = await get_openapi(real_service)

    def verify(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                target: Any = document
                for step in node["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
            for value in node.values():
                verify(value)
        elif isinstance(node, list):
            for value in node:
                verify(value)

    verify(document)
    assert "PredictAnswer" in document["components"]["schemas"]


async def test_documentation_page_asks_no_other_host(real_service: Running) -> None:
    """Script, style and icon come from the service itself, also in a closed network."""
    page = (await real_service.client.get("/docs")).text
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(links) == 3
    for link in links:
        assert link.startswith("/docs-assets/")
        assert (await real_service.client.get(link)).status_code == 200


async def test_no_redirect_quotes_the_host_header(real_service: Running) -> None:
    """A path with a slash too many is not found, instead of sending the client elsewhere."""
    headers = {"Host": "elsewhere.example"}
    response = await real_service.client.get("/v1/models/", headers=headers)
    assert response.status_code == 404
    assert "elsewhere" not in str(response.headers)
