"""A real PostgreSQL on loopback, as database of several gateways."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gateway.process import free_port

USER = "postgres"


def postgresql_absent() -> str:
    """Say why there is none; empty if there is one."""
    if not _programs():
        return "PostgreSQL is absent (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and USER not in {user.pw_name for user in pwd.getpwall()}:
        return f"there is no unprivileged user {USER} to run PostgreSQL as"
    return ""


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Start one that is empty, give its address, and stop it."""
    programs = _programs()[-1]
    folder = Path("/tmp") / f"cxr-pg-{os.getpid()}"  # it wants a short path
    folder.mkdir(mode=0o700)
    run: dict[str, Any] = {"cwd": "/", "timeout": 120, "stdout": subprocess.DEVNULL}
    if os.getuid() == 0:  # which it refuses to be
        user = pwd.getpwnam(USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        run |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    port = free_port()
    data = folder / "data"
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "cxr", "-A", "trust", "-E", "UTF8"]
    try:
        subprocess.run(initdb, **run, check=True)
        start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, **run, check=True)
        try:
            yield f"postgresql://cxr@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run, check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"))
