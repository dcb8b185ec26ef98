"""The README's commands run as they are printed, in a clean clone, by a plain shell."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cxr.images.decoding import sniff_format
from tests.clone import Shell, make_clone
from tests.conftest import REPOSITORY
from tests.examples import SERVICE, blocks, links

README, ACCESS = "README.md", "docs/access.md"
ANYWHERE = {"CXR_PORT": "0", "CXR_GATEWAY_PORT": "0", "CXR_GATEWAY_DIMSE_PORT": "0"}

MAKE, ASK, GATEWAY = "Two commands", "Ask it", "In a PACS"
KEYS, CONTAINER, TRAIN = (
    "Who may ask",
    "In a container, in a cluster",
    "Train, export, serve your own",
)
[ACCESS_BLOCK] = blocks(README, "bash", KEYS)
[GATEWAY_BLOCK] = blocks(README, "bash", GATEWAY)
ASKING = blocks(README, "bash", ASK)


def lines_of(block: str) -> list[str]:
    """Give the commands of a block, each with the lines it goes on in."""
    return re.sub(r"\\\n\s*", "", block).splitlines()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, shipped_bundles: Path) -> Path:
    """A clone as ``make serve`` leaves it, with the radiographs that the README takes."""
    clone = make_clone(tmp_path_factory.mktemp("readme"))
    (clone / "bundles").symlink_to(shipped_bundles)
    Shell(clone).run(ASKING[0])
    return clone


@pytest.fixture(scope="module")
def address(clone: Path) -> Iterator[str]:
    """The service that ``make serve`` starts; what it would install and build is there."""
    serve, test = lines_of(blocks(README, "bash", MAKE)[0])
    assert test.split()[:2] == ["make", "test"]  # this is it
    serve = serve.partition("#")[0]
    with Shell(clone).running(f"{serve} PORT=0 --old-file=install --old-file=bundles") as address:
        yield address


@pytest.mark.parametrize("block", ASKING, ids=lambda block: block.split()[0])
def test_asking(block: str, clone: Path, address: str) -> None:
    """Each answer of each command is a prediction without an error."""
    if "curl" in block and shutil.which("curl") is None:
        pytest.skip("curl is absent")
    output = Shell(clone).run(block.replace(SERVICE, address.removeprefix("http://")))
    if "--out results.csv" in block:
        assert (clone / "results.csv").read_text().count("\n") == 3
    pictures = re.findall(r"-o (\S+)", block) if "curl" in block else []
    for name in pictures:
        kind = "dicom" if name.endswith(".dcm") else "png"
        assert sniff_format((clone / name).read_bytes()) == kind
    if "curl" in block:
        answers = re.sub(r"\}\s*\{\"request_id", '}\n{"request_id', output).splitlines()
        asked = len(re.findall(r"^\s*curl", block, re.MULTILINE))
        assert len(answers) == asked - len(pictures)
        for told in map(json.loads, answers):
            if "resourceType" in told:
                assert told["resourceType"] == "DiagnosticReport"
            else:
                assert all(result["status"] == "ok" for result in told["results"])


@pytest.mark.parametrize("block", blocks(README, "python"), ids=["client"])
def test_python_example(block: str, clone: Path, address: str) -> None:
    """In a file in the clone, it prints one line per file and writes a picture."""
    (clone / "ask.py").write_text(block.replace(f"http://{SERVICE}", address))
    assert Shell(clone).run(".venv/bin/python ask.py").count("\n") == 2
    assert (clone / "chest-overlay.png").read_bytes().startswith(b"\x89PNG")


def test_printed_answer_has_the_members_of_a_real_one(clone: Path, address: str) -> None:
    """The JSON in the README has exactly the keys that the service answers with."""
    printed = json.loads(blocks(README, "json")[0])
    image = (clone / "chest.jpeg").read_bytes()
    given = httpx.post(f"{address}/v1/predict", content=image, timeout=60).json()
    # A drawing may look like nobody the model knows.
    given["results"][0]["population"] = printed["results"][0]["population"]

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        if isinstance(value, list):  # of texts or numbers it matters only that it is one
            return [shape(item) for item in value[:1] if isinstance(item, dict)]
        return None

    assert shape(printed) == shape(given)


def test_gateway_starts_and_its_jobs_are_listed(clone: Path) -> None:
    """At any free ports; nothing is sent to the archive that the example names."""
    gateway, *others = lines_of(GATEWAY_BLOCK)
    shell = Shell(clone, **ANYWHERE)
    with shell.running(gateway) as address:
        assert httpx.get(f"{address}/health/ready").status_code == 200
        for line in others:
            assert shell.run(line).startswith("ID ")


def test_key_opens_the_service(clone: Path) -> None:
    """The key that is shown is let in, over TLS, and nobody is without."""
    certificate, new, serve = lines_of(ACCESS_BLOCK)
    shell = Shell(clone, CXR_MODELS="small_cnn", CXR_EXPLAIN="off", **ANYWHERE)
    shell.run(certificate)
    key = shell.run(new).strip()
    assert stat.S_IMODE((clone / "keys.json").stat().st_mode) == 0o600
    with shell.running(serve.replace("0.0.0.0", "127.0.0.1")) as address:
        url = address.replace("127.0.0.1", "localhost") + "/v1/models"
        with httpx.Client(verify=ssl.create_default_context(cafile=clone / "chain.pem")) as client:
            assert client.get(url).status_code == 401
            answer = client.get(url, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


def test_containers_and_overlays_exist(clone: Path) -> None:
    """Nothing is built, which takes gigabytes, nor applied; an overlay is rendered."""
    build, up, apply = (line.split() for line in lines_of(blocks(README, "bash", CONTAINER)[0]))
    target = build[build.index("--target") + 1]
    assert re.search(rf"^FROM .* AS {target}$", (clone / "Dockerfile").read_text(), re.MULTILINE)
    assert (up[:2], up[4]) == (["docker", "compose"], "up")
    assert (clone / up[up.index("-f") + 1]).is_file()
    overlay = apply[apply.index("-k") + 1]
    assert (clone / overlay / "kustomization.yaml").is_file()
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is absent")
    assert "kind: Deployment" in Shell(clone).run(f"kubectl kustomize {overlay}")


def test_access_page(clone: Path, tmp_path: Path) -> None:
    """Keys and a certificate for a trial; a provider of identities is nobody's to start here."""
    new, oidc, certificate = blocks(ACCESS, "bash")
    assert "CXR_OIDC_ISSUER=" in oidc
    (tmp_path / ".venv").symlink_to(clone / ".venv")
    shell = Shell(tmp_path, PYTHONPATH=str(clone))
    assert shell.run(new).startswith("cxr_")
    assert json.loads((tmp_path / "keys.json").read_text())["keys"][0]["name"] == "pacs"
    shell.run(certificate)
    assert (tmp_path / "chain.pem").is_file()


def test_every_command_is_run() -> None:
    """None is printed that no test runs; tests/test_tutorials.py has those that train."""
    run = (MAKE, ASK, GATEWAY, KEYS, CONTAINER, TRAIN)
    assert blocks(README, "bash") == [b for section in run for b in blocks(README, "bash", section)]
    fences = re.findall(r"^```(\w*)$", (REPOSITORY / README).read_text(), re.MULTILINE)
    assert set(fences[::2]) == {"bash", "json", "python"}
    assert set(fences[1::2]) == {""}


def test_linked_files_exist() -> None:
    """Nothing is linked that is not there."""
    for link in links(README):
        assert link.exists(), link
