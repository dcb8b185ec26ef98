"""Fixtures for all tests: data made in code, one trained run, one bundle."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a core for each worker, sums always alike

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

LONG = {"training", "export", "chaos", "test_tutorials.py"}
"""Folders and modules that begin, so that the workers end at about the same time."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each module and each marked group on one worker, so its fixtures are made once."""
    from xdist.scheduler import LoadGroupScheduling

    class ByModule(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            group = super()._split_scope(nodeid)
            return nodeid.partition("::")[0] if group == nodeid else group

    return ByModule(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: not LONG & {*item.path.relative_to(REPOSITORY).parts})


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a folder of that name in one worker; the others wait for it and share it."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if hasattr(pytestconfig, "workerinput") else base) / "once"
    root.mkdir(exist_ok=True)

    def fill(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                threads = torch.get_num_threads()  # which commands set for themselves
                make(folder)
                torch.set_num_threads(threads)
                done.touch()
        return folder

    return fill


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Commands set how many threads torch uses; the next test's sums must not depend on it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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
def toy_data(once: Once) -> Path:
    """A data set of drawn radiographs in the Kaggle layout."""
    return once("toy", make_kaggle_layout)


@pytest.fixture(scope="session")
def smoke_run(toy_data: Path, once: Once) -> Path:
    """A run directory, trained by the command a user would give."""

    def train(folder: Path) -> None:
        arguments = ["train", "--recipe", "smoke", "--data", str(toy_data)]
        arguments += ["--out", str(folder / "smoke"), "--device", "cpu", "--quiet"]
        assert training_main(arguments) == 0

    return once("run", train) / "smoke"


@pytest.fixture(scope="session")
def smoke_bundle(smoke_run: Path, once: Once) -> Path:
    """The bundle of that run."""
    return once("bundle", partial(build_bundle, smoke_run)) / "smoke"


@pytest.fixture(scope="session")
def int8_run(smoke_run: Path, toy_data: Path, once: Once) -> Path:
    """The same run, quantised by the command a user would give."""

    def quantize(folder: Path) -> None:
        run = shutil.copytree(smoke_run, folder / "smoke")
        arguments = ["quantize", "--run", str(run), "--data", str(toy_data), "--images", "12"]
        assert export_main([*arguments, "--quiet"]) == 0

    return once("int8-run", quantize) / "smoke"


@pytest.fixture(scope="session")
def int8_bundle(int8_run: Path, once: Once) -> Path:
    """The bundle of that run, which computes in eight bits, too."""
    return once("int8-bundle", partial(build_bundle, int8_run)) / "smoke"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets, which lies outside the repository."""
    path = Path(os.environ.get("CXR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("the shared data sets are absent (set CXR_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def shipped_bundles(once: Once) -> Path:
    """The bundles of the runs in models/: those that make built, or built here."""
    built = REPOSITORY / "bundles"
    models = sorted(path.parent for path in (REPOSITORY / "models").glob("*/run.json"))
    if all((built / model.name / "manifest.json").is_file() for model in models):
        return built

    def build(folder: Path) -> None:
        for model in models:
            build_bundle(model, folder)

    return once("shipped", build)


@pytest.fixture(scope="session")
def live(shipped_bundles: Path) -> Iterator[LiveServer]:
    """The service as a process of its own, with the shipped models."""
    from tests.live import running_server

    with running_server(shipped_bundles) as server:
        server.wait_explains()
        yield server
