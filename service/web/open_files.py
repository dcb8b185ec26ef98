"""As many open files as a process may have: each connection is one."""

from __future__ import annotations

import resource

MOST = 65_536  # more are not used; some systems allow a billion


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one.

    Login shells and systemd give 1,024 for the sake of old programs. So few connections that say
    nothing would keep everybody out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
