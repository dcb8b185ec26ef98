"""Fixtures for all tests: data made in code, one trained run, one bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from export.__main__ import main as export_main
from export.build import build_bundle
from export.phantom import draw_phantom, encode_jpeg
from training.__main__ import main as training_main

if TYPE_CHECKING:
    from tests.live import LiveServer

REPOSITORY = Path(__file__).parent.parent

PATIENTS_PER_CLASS = 24

torch.set_num_threads(2)  # as many as the smallest machine has, so results do not depend on it


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Commands set how many threads torch uses; the next test's sums must not depend on it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing by a second core, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_kaggle_layout(root: Path, patients: int = PATIENTS_PER_CLASS) -> Path:
    """Write a data set of drawn radiographs in the Kaggle layout, two images a patient."""
    for folder, count in (("train", patients), ("test", 6)):
        for i in range(count):
            for j in range(2):
                files = {
                    f"{folder}/NORMAL/IM-{i:04d}-{j:04d}.jpeg": 0.0,
                    f"{folder}/PNEUMONIA/person{i}_bacteria_{j}.jpeg": 1.0,
                }
                for name, opacity in files.items():
                    path = root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image = draw_phantom(1000 * (folder == "test") + 10 * i + j, opacity)
                    path.write_bytes(encode_jpeg(np.ascontiguousarray(image[::2, ::2])))
    return root


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of drawn radiographs in the Kaggle layout."""
    return make_kaggle_layout(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def smoke_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, trained by the command a user would give."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    arguments = ["train", "--recipe", "smoke", "--data", str(toy_data), "--out", str(out)]
    assert training_main([*arguments, "--device", "cpu", "--quiet"]) == 0
    return out


@pytest.fixture(scope="session")
def smoke_bundle(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run."""
    return build_bundle(smoke_run, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def int8_run(smoke_run: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, quantised by the command a user would give."""
    run = Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("runs") / "smoke"))
    arguments = ["quantize", "--run", str(run), "--data", str(toy_data), "--images", "12"]
    assert export_main([*arguments, "--quiet"]) == 0
    return run


@pytest.fixture(scope="session")
def int8_bundle(int8_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run, which computes in eight bits, too."""
    return build_bundle(int8_run, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets, which lies outside the repository."""
    path = Path(os.environ.get("CXR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("the shared data sets are absent (set CXR_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def shipped_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles of the runs in models/: those that make built, or built here."""
    built = REPOSITORY / "bundles"
    models = sorted(path.parent for path in (REPOSITORY / "models").glob("*/run.json"))
    if all((built / model.name / "manifest.json").is_file() for model in models):
        return built
    out = tmp_path_factory.mktemp("shipped")
    for model in models:
        build_bundle(model, out)
    return out


@pytest.fixture(scope="session")
def live(shipped_bundles: Path) -> Iterator[LiveServer]:
    """The service as a process of its own, with the shipped models."""
    from tests.live import running_server

    with running_server(shipped_bundles) as server:
        yield server
