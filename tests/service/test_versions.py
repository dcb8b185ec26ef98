"""The table of a model's versions, alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.models.models import Models
from service.models.versions import Version, Versions

KEYS = st.sampled_from(["1.0.0", "1.1.0", "2.0.0", "3.0.0"])


def hold(version: Version[str]) -> AbstractContextManager[str]:
    """Hold a version as a request does."""
    return Models().hold(cast("Any", version))


def make_loaded(table: Versions[str], key: str) -> Version[str]:
    version = table.note(key, key, key, "")
    table.begin_loading(version)
    table.finish_loading(version, f"model {key}")
    return version


def test_rollback_returns_the_way_it_came() -> None:
    """Twice back from the third is the first, and there is no way back to what was left."""
    table: Versions[str] = Versions("m")
    first, second, third = (make_loaded(table, key) for key in ("1", "2", "3"))
    for version in (first, second, third):
        table.activate(version)
    assert table.former == ["1", "2"]
    table.roll_back(second)
    assert (table.active, table.former) == (second, ["1"])
    table.roll_back(first)
    assert (table.active, table.former) == (first, [])


def test_rollback_by_name_skips_those_between() -> None:
    """What came after the version named is no way back."""
    table: Versions[str] = Versions("m")
    first, second, third = (make_loaded(table, key) for key in ("1", "2", "3"))
    for version in (first, second, third):
        table.activate(version)
    table.roll_back(first)
    assert (table.active, table.former, third.state) == (first, [], "standby")


def test_version_in_use_is_not_let_go() -> None:
    """A request that began on a version has it to the end."""
    table: Versions[str] = Versions("m")
    version = make_loaded(table, "1")
    with hold(version) as held:
        table.begin_unloading(version)
        with pytest.raises(ValueError, match="in use"):
            table.finish_unloading(version)
        assert held == version.payload
        with pytest.raises(ValueError, match="unloading"), hold(version):
            pass
    table.finish_unloading(version)
    assert (version.state, version.payload) == ("available", None)


class TableMachine(RuleBasedStateMachine):
    """Every order of events; what is impossible is refused and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Versions[str] = Versions("m")
        self.requests: list[tuple[Version[str], str, ExitStack]] = []

    def change(self, method: str, key: str, *more: str) -> None:
        """Do something, or be refused without a trace."""
        version = self.table.by_key.get(key)
        if version is None:
            return
        before = self.describe()
        try:
            getattr(self.table, method)(version, *more)
        except ValueError:
            assert self.describe() == before

    def describe(self) -> object:
        """Give all there is to see."""
        rows = [(v.key, v.state, v.payload, v.uses) for v in self.table]
        return rows, self.table.active, list(self.table.former)

    @rule(key=KEYS)
    def note(self, key: str) -> None:
        """A version appears."""
        self.table.note(key, key, key, "")

    @rule(key=KEYS)
    def load(self, key: str) -> None:
        """Loading begins and ends well."""
        self.change("begin_loading", key)
        self.change("finish_loading", key, f"model {key}")

    @rule(key=KEYS)
    def break_down(self, key: str) -> None:
        """Loading begins and ends badly."""
        self.change("begin_loading", key)
        self.change("fail", key, "broken")

    @rule(key=KEYS, method=st.sampled_from(["activate", "roll_back"]))
    def switch(self, key: str, method: str) -> None:
        """Another version answers."""
        self.change(method, key)

    @rule(key=KEYS, method=st.sampled_from(["begin_unloading", "finish_unloading", "drop"]))
    def let_go(self, key: str, method: str) -> None:
        """A version leaves."""
        self.change(method, key)

    @rule(key=st.none() | KEYS)
    def begin_request(self, key: str | None) -> None:
        """A request takes what is named, or what is active."""
        version = self.table.active if key is None else self.table.by_key.get(key)
        if version is not None and version.is_loaded:
            stack = ExitStack()
            self.requests.append((version, stack.enter_context(hold(version)), stack))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def end_request(self, data: st.DataObject) -> None:
        """A request ends on what it began on."""
        number = data.draw(st.integers(0, len(self.requests) - 1))
        version, held, stack = self.requests.pop(number)
        assert held == f"model {version.key}"
        stack.close()

    @invariant()
    def one_active_at_most(self) -> None:
        """The active version is loaded, the only one, and not among the former."""
        active = [version for version in self.table if version.state == "active"]
        assert active == ([self.table.active] if self.table.active else [])
        assert not {version.key for version in active} & set(self.table.former)

    @invariant()
    def models_are_there_as_long_as_needed(self) -> None:
        """What requests hold is in memory; what is not loaded is not."""
        for version in self.table:
            held = sum(version is one for one, _, _ in self.requests)
            assert version.uses == held
            loaded = version.state in ("active", "standby", "unloading")
            assert (version.payload is not None) == loaded
            assert loaded or not held

    @invariant()
    def the_way_back_exists(self) -> None:
        """Every former version is known, once."""
        assert len(set(self.table.former)) == len(self.table.former)
        assert all(self.table.by_key.get(key) is not None for key in self.table.former)


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
