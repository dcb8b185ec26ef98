"""The page for people before a service that asks for keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from service.commands.keys import build_key
from tests.browser import running_browser
from tests.service.test_server import Process, start

__all__ = ["start"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with running_browser() as running:
        yield running


def test_page_asks_for_a_key_and_shows_it(
    browser: Browser, start: Callable[..., Process], tmp_path: Path
) -> None:
    """A wrong one is asked for again; a right one is kept in the tab and in no address."""
    key, entry = build_key("person", ["predict"])
    (tmp_path / "keys").write_text(json.dumps({"keys": [entry]}))
    url = start(CXR_ACCESS="keys", CXR_API_KEYS_FILE=str(tmp_path / "keys")).url()
    answers = ["wrong", key]
    asked: list[str] = []
    addresses: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: addresses.append(request.url))
    page.on("dialog", lambda one: (asked.append(one.message), one.accept(answers.pop(0))))
    page.goto(url)
    expect(page.get_by_role("combobox").first).to_contain_text("resnet18")
    assert len(asked) == 2
    assert not [address for address in addresses if key in address]
    page.reload()
    expect(page.get_by_role("combobox").first).to_contain_text("resnet18")
    assert len(asked) == 2
    page.close()
