"""The image: what it holds, how it is built, and how its first process ends."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY
from tests.service.make_bundle import make_bundle
from tests.service.test_explain_graph import explain_in_a_process

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
LOCK = (REPOSITORY / "deploy" / "requirements.lock").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SCRIPT = runpy.run_path(str(REPOSITORY / "deploy" / "image" / "requirements.py"))
TARGETS = ("cpu", "cpu-explain", "gpu", "bundles")
SAME_WHEEL = {"onnxruntime": "onnxruntime-gpu"}  # what is installed here in its stead


def wanted(target: str) -> list[str]:
    return SCRIPT["requirements"](target, PROJECT, LOCK)


def closure(requirements: list[str]) -> set[str]:
    """Give the packages that requirements bring with them on this machine."""
    name_of = SCRIPT["name_of"]
    found: set[str] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = name_of(requirement.name)
        name = SAME_WHEEL.get(name, name)
        if name in found and not requirement.extras:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            waiting += [(Requirement(line), one) for one in (requirement.extras or {""})]
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_everything_installed_is_locked(target: str) -> None:
    """No version is left to choose: the lock, given as constraints, has all of them."""
    # Tools of installation, which torch names; the base image has them.
    assert closure(wanted(target)) - {"setuptools"} <= SCRIPT["pinned"](LOCK).keys()


def test_targets_hold_what_they_are_for() -> None:
    """No PyTorch and no CUDA on CPUs, PyTorch where it is explained, nothing of training."""
    names = {target: {SCRIPT["name_of"](line) for line in wanted(target)} for target in TARGETS}
    assert not {"torch", "torchvision", "timm", "onnxruntime-gpu"} & names["cpu"]
    assert {"onnxruntime", "openvino", "highdicom"} <= names["cpu"]
    assert names["cpu-explain"] - names["cpu"] == {"torch", "torchvision", "timm"}
    assert {"torch", "onnxruntime-gpu", "highdicom"} <= names["gpu"]
    assert not {"openvino", "onnxruntime"} & names["gpu"]
    for target in ("cpu", "cpu-explain", "gpu"):
        assert not {"scikit-learn", "matplotlib", "onnx", "pytest"} & names[target]
    assert {"torch", "onnx", "onnxscript", "jinja2"} <= names["bundles"]


def test_the_runtime_for_cpus_is_the_locked_one() -> None:
    """It has the version of onnxruntime-gpu."""
    version = SCRIPT["pinned"](LOCK)["onnxruntime-gpu"]
    assert f"onnxruntime=={version}" in wanted("cpu")


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_stages() -> None:
    """Both images and their default; only final stages come from the one without tools."""
    stages = [value for name, value in instructions() if name == "FROM"]
    finals = [value.split()[2] for value in stages if value.startswith("service ")]
    assert finals == ["gpu", "cpu-explain", "cpu"]
    assert stages[-1].endswith("AS cpu")
    base = dict(v.split("=", 1) for n, v in instructions() if n == "ARG" and "=" in v)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+", base["PYTHON_IMAGE"])


def test_process() -> None:
    """Exec form, a numeric user, a signal it drains on, and a check of its health."""
    found: dict[str, str] = dict(instructions())
    assert found["ENTRYPOINT"] == '["python", "-m", "service"]'
    assert found["CMD"] == '["serve"]'
    assert re.fullmatch(r"\d{5}:\d{5}", found["USER"])
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert 'CMD ["python", "/opt/cxr/healthcheck.py"]' in found["HEALTHCHECK"]


def test_context_holds_what_is_copied() -> None:
    """.dockerignore lets in what COPY asks for, and it is there."""
    allowed = {
        line[1:]
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = [v.split() for n, v in instructions() if n == "COPY" and not v.startswith("--from")]
    for source in (path for words in copies for path in words[:-1]):
        assert {source, source.partition("/")[0], str(Path(source).parent)} & allowed
        assert (REPOSITORY / source).exists()
    assert not {"tests", "training", "bundles", ".git"} & allowed


def test_cpu_image_serves_without_what_it_leaves_out(tmp_path: Path) -> None:
    """Ready, a prediction and a clean end while every package outside the image is forbidden."""
    outside = outside_of("cpu")
    assert {"torch", "sklearn", "matplotlib", "onnx"} <= set(outside)
    make_bundle(tmp_path / "bundles", "resnet18")
    program = tmp_path / "run.py"
    program.write_text(
        "import sys\n"
        f"outside = frozenset({outside!r})\n"
        "class Forbid:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in outside:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Forbid())\n"
        "from service.__main__ import main\n"
        "sys.exit(main(['predict', sys.argv[1]]))\n"
    )
    from tests.service.make_images import make_png

    (tmp_path / "one.png").write_bytes(make_png(120))
    finished = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "one.png")],
        cwd=REPOSITORY,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert "one.png" in finished.stdout


def test_cpu_image_explains(smoke_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default and without PyTorch, nor anything else that the image leaves out."""
    set_there = [value for name, value in instructions() if name == "ENV"]
    assert not any("CXR_EXPLAIN" in value for value in set_there)
    monkeypatch.setenv("CXR_ACCESS", "anonymous")
    absent = " ".join(outside_of("cpu"))
    assert explain_in_a_process(smoke_bundle, absent, provider="cpu") == "200 True"


def outside_of(target: str) -> list[str]:
    """Give the modules installed here that are not in an image."""
    inside = closure(wanted(target))
    return sorted(
        module
        for module, names in metadata.packages_distributions().items()
        if module.isidentifier()
        and not {SCRIPT["name_of"](name) for name in names} & inside
        and module not in {"setuptools", "pkg_resources", "_distutils_hack", "pip"}
    )


def _environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CXR_")}
    ours: dict[str, Any] = {
        "CXR_BUNDLES_DIR": folder / "bundles",
        "CXR_PROVIDER": "cpu",
        "CXR_EXPLAIN": "off",
        "CXR_ENGINE": "onnxruntime",
        "CXR_PORT": 0,
        "PYTHONPATH": REPOSITORY,
    }
    return kept | {name: str(value) for name, value in ours.items()}


def _can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _can_unshare(), reason="no PID namespace can be made here")
def test_process_1_heeds_a_signal_while_it_starts(tmp_path: Path) -> None:
    """As the first process of a container, too, SIGTERM ends it before it serves."""
    make_bundle(tmp_path / "bundles", "resnet18")
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "service", "serve"],
        cwd=REPOSITORY,
        env=_environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            time.sleep(0.02)
        assert process.returncode == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
