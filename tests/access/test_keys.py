"""API keys: made, kept as hashes, changed while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main
from service.access import keys as api_keys
from service.access.caller import MOST_BUCKETS, Credential, Rate, Rates
from service.access.keys import KeyRing, parse_keys
from service.access.watched_file import POLL_S
from service.commands.keys import build_key
from service.errors import RateLimitedError, StartupError


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Give the seconds."""
        return self.now_s


def write_keys(path: Path, *entries: dict[str, Any]) -> None:
    """Write a file of keys."""
    path.write_text(json.dumps({"keys": entries}))


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def test_key_is_found_by_its_hash(tmp_path: Path) -> None:
    """The file holds no key, only what it hashes to, and finds its name, scopes and rate."""
    key, entry = build_key("pacs", ["predict", "explain"], None, 5)
    write_keys(tmp_path / "keys", entry, build_key("other", ["jobs"])[1])
    assert key not in (tmp_path / "keys").read_text()
    ring = KeyRing(tmp_path / "keys", "X")
    caller = ring.find(key)
    assert caller is not None
    assert (caller.name, caller.by, caller.scopes) == ("pacs", "key", {"predict", "explain"})
    assert caller.rate == Rate(5, 10)
    for wrong in (key[:-1], key + "x", entry["sha256"], "", "\u00e9"):
        assert ring.find(wrong) is None


def test_keys_are_random_and_long() -> None:
    """256 random bits each, or a plain hash would not do."""
    keys = {build_key("a", ["predict"])[0] for _ in range(50)}
    assert len(keys) == 50
    assert all(len(key) == len("cxr_") + 43 for key in keys)


def test_every_hash_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a key stands in the file nor how much of it is right can be timed."""
    made = [build_key(f"k{i}", ["predict"]) for i in range(3)]
    write_keys(tmp_path / "keys", *(entry for _, entry in made))
    ring = KeyRing(tmp_path / "keys", "X")
    compared = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    assert ring.find(made[0][0]) is not None
    assert len(compared) == 3
    assert len({shown for shown, _ in compared}) == 1


def test_key_expires(tmp_path: Path) -> None:
    """From its time on it is nobody's."""
    now = datetime.now(UTC)
    past, entry = build_key("past", ["predict"], now - timedelta(seconds=1))
    coming, other = build_key("coming", ["predict"], now + timedelta(minutes=5))
    write_keys(tmp_path / "keys", entry, other)
    ring = KeyRing(tmp_path / "keys", "X")
    assert ring.find(past) is None
    assert ring.find(coming) is not None


def test_changed_file_is_read_without_a_restart(tmp_path: Path, clock: Clock) -> None:
    """A new key counts and an old one no longer, a second after the file has changed."""
    old, old_entry = build_key("old", ["predict"])
    new, new_entry = build_key("new", ["predict"])
    write_keys(tmp_path / "keys", old_entry)
    ring = KeyRing(tmp_path / "keys", "X", clock)
    write_keys(tmp_path / "keys", new_entry, build_key("third", ["predict"])[1])
    ring.refresh()
    assert ring.find(old) is not None  # looked at a moment ago
    clock.now_s += POLL_S
    ring.refresh()
    assert ring.find(old) is None
    assert ring.find(new) is not None


def test_symbolic_link_that_is_turned_counts(tmp_path: Path, clock: Clock) -> None:
    """Kubernetes changes a mounted Secret by turning ..data to another folder."""
    old, old_entry = build_key("same", ["predict"])
    new, new_entry = build_key("same", ["predict"])
    for folder, entry in (("one", old_entry), ("two", new_entry)):
        (tmp_path / folder).mkdir()
        write_keys(tmp_path / folder / "keys", entry)
        os.utime(tmp_path / folder / "keys", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "keys").symlink_to("..data/keys")
    ring = KeyRing(tmp_path / "keys", "X", clock)
    (tmp_path / "turning").symlink_to("two")
    (tmp_path / "turning").rename(tmp_path / "..data")
    clock.now_s += POLL_S
    ring.refresh()
    assert ring.find(old) is None
    assert ring.find(new) is not None


def make_sparse(path: Path) -> None:
    """Make a file of a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1_000_000_000)


BROKEN: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: path.write_bytes(b"{"),
    "empty": Path.touch,
    "bytes": lambda path: path.write_bytes(b"\xff"),
    "brackets": lambda path: path.write_bytes(b'{"keys":' + b"[" * 200_000),
    "gone": lambda path: None,
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path),
    "gigabyte": make_sparse,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_file_that_is_none_is_refused_at_the_start(tmp_path: Path, broken: str) -> None:
    """At once: nothing is waited for."""
    BROKEN[broken](tmp_path / "keys")
    with pytest.raises(StartupError, match="the file of keys cannot be used"):
        KeyRing(tmp_path / "keys", "X")


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_file_keeps_the_old_keys(
    tmp_path: Path, clock: Clock, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is locked out by a mistake; the log says so, once, and a mended file counts."""
    path = tmp_path / "keys"
    key, entry = build_key("pacs", ["predict"])
    write_keys(path, entry)
    ring = KeyRing(path, "X", clock)
    path.unlink()
    BROKEN[broken](path)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            clock.now_s += POLL_S
            ring.refresh()
    assert ring.find(key) is not None
    events = [record.getMessage() for record in caplog.records]
    assert events == ["keys file broken, old keys kept"]
    path.rename(tmp_path / "old") if os.path.lexists(path) else None
    write_keys(path)  # on purpose: nobody
    clock.now_s += POLL_S
    ring.refresh()
    assert ring.find(key) is None


ENTRY = build_key("a", ["predict"])[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "keys"),
        ({"keys": [ENTRY], "more": 1}, "more"),
        ({"keys": [ENTRY | {"scopes": []}]}, "scopes"),
        ({"keys": [ENTRY | {"scopes": ["all"]}]}, "scopes"),
        ({"keys": [ENTRY | {"name": "a b"}]}, "name"),
        ({"keys": [ENTRY | {"sha256": "cxr_whoops"}]}, "sha256"),
        ({"keys": [ENTRY | {"expires": "2027-01-01T00:00:00"}]}, "expires"),
        ({"keys": [ENTRY | {"rate_per_s": 0}]}, "rate_per_s"),
        ({"keys": [ENTRY, ENTRY]}, "same name"),
        ({"keys": [ENTRY, ENTRY | {"name": "b"}]}, "same sha256"),
    ],
)
def test_malformed_file_says_where(content: dict[str, Any], told: str) -> None:
    """In one line that quotes nothing: somebody may have put the key where its hash belongs."""
    with pytest.raises(StartupError, match=told) as caught:
        parse_keys(json.dumps(content).encode())
    assert "\n" not in str(caught.value)
    assert "whoops" not in str(caught.value)


def test_file_may_be_toml() -> None:
    """With its own dates."""
    (key,) = parse_keys(
        b'[[keys]]\nname = "a"\nsha256 = "' + b"0" * 64 + b'"\nscopes = ["jobs"]\n'
        b"expires = 2027-01-31T00:00:00Z\nrate_per_s = 2\n"
    )
    assert key.expires == datetime(2027, 1, 31, tzinfo=UTC)
    assert key.rate == Rate(2, 10)


def test_secrets_do_not_show() -> None:
    """What prints a key's row, or what a caller showed, prints no secret."""
    (key,) = parse_keys(json.dumps({"keys": [ENTRY]}).encode())
    assert ENTRY["sha256"] not in repr(key)
    assert "secret" not in repr(Credential("secret", is_bearer=True)).replace("secret=", "")


@pytest.mark.parametrize("toml", [False, True], ids=["json", "toml"])
def test_command_makes_a_key_that_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toml: bool
) -> None:
    """What it prints goes into the file as it is, and the file can be looked at."""
    options = ["--scope", "jobs", "--expires", "90d", "--rate-per-s", "3"]
    code = main(
        ["keys", "new", "--name", "pacs", "--scope", "predict", *options, *["--toml"] * toml]
    )
    key, _, entry = capsys.readouterr().out.partition("\n")
    assert code == 0
    path = tmp_path / "keys"
    path.write_text(entry if toml else f'{{"keys": [{entry}]}}')
    caller = KeyRing(path, "X").find(key)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("pacs", {"predict", "jobs"})
    assert main(["keys", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("pacs: jobs predict, expires 2")
    assert hashlib.sha256(key.encode()).hexdigest() not in shown


def test_command_says_what_is_wrong_with_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """So that it is known before a running service is given it."""
    (tmp_path / "keys").write_text("{")
    assert main(["keys", "show", str(tmp_path / "keys")]) == 1
    assert "neither JSON nor TOML" in capsys.readouterr().err


def test_bucket_gives_what_its_rate_gives(clock: Clock) -> None:
    """A burst at once, then one each time one has come in; the error says when."""
    rates, rate = Rates(clock), Rate(0.5, 2)
    rates.take("a", rate)
    rates.take("a", rate)
    with pytest.raises(RateLimitedError) as caught:
        rates.take("a", rate)
    assert caught.value.retry_after_s == 2
    rates.take("b", rate)  # another's bucket
    clock.now_s += 2
    rates.take("a", rate)
    with pytest.raises(RateLimitedError):
        rates.take("a", rate)
    clock.now_s += 3600
    rates.take("a", rate)
    rates.take("a", rate)
    with pytest.raises(RateLimitedError):
        rates.take("a", rate)


def test_buckets_are_bounded(clock: Clock) -> None:
    """However many subjects an identity provider has."""
    rates = Rates(clock)
    for i in range(MOST_BUCKETS + 10):
        rates.take(str(i), Rate(1, 1))
    assert len(rates._buckets) == MOST_BUCKETS
