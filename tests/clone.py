"""A clean clone of the repository, and a shell in it as a newcomer has one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

OURS = re.compile(r"CXR_|PYT(HON|EST)|VIRTUAL_ENV|MAKE|MFLAGS")


def make_clone(folder: Path) -> Path:
    """Clone the repository with what the working tree has changed.

    Its environment is a link to this one: ``make serve`` would install the same.
    """
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone, so there is nothing to clone")
    clone, config = folder / "clone", folder / "gitconfig"
    config.write_text("[safe]\n\tdirectory = *\n")  # whoever owns the repository

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        env = os.environ | {"GIT_CONFIG_GLOBAL": str(config)}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    git("clone", "--quiet", "--shared", str(REPOSITORY), str(clone))
    for name in git("ls-files", "-z", "--deleted").split("\0")[:-1]:
        (clone / name).unlink()
    for name in git("ls-files", "-z", "-mo", "--exclude-standard").split("\0")[:-1]:
        if (REPOSITORY / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clone / name)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


class Shell:
    """A shell without anything of the environment that these tests run in.

    Args:
        folder: Where its commands run.
        **settings: Variables of its environment.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        own = Path(sys.prefix) / "bin"
        places = os.environ["PATH"].split(os.pathsep)
        kept["PATH"] = os.pathsep.join(place for place in places if Path(place) != own)
        self._env = kept | settings

    @contextmanager
    def _begun(self, script: str, **pipes: int) -> Iterator[subprocess.Popen[str]]:
        """Begin a script, and end it with all it started."""
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._env,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **pipes,
        )
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)

    def run(self, script: str) -> str:
        """Run lines until one fails, and give what they print."""
        with self._begun(script, stdout=subprocess.PIPE) as process:
            printed, said = process.communicate()
        assert process.returncode == 0, f"{script}\n{said[-4000:]}"
        return printed

    @contextmanager
    def running(self, command: str) -> Iterator[str]:
        """Run a command that serves, and give the address that it says it is ready at."""
        with self._begun(command, stdout=subprocess.DEVNULL) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if match := re.search(r"https?://[\d.]+:\d+", line):
                    yield match[0]
                    return
            raise AssertionError(f"{command}\n{''.join(said)[-4000:]}")
