"""A real browser on the page for people."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000  # two busy cores may take that long for an explanation

TRANSFER = """({files, selector, isPaste}) => {
  const transfer = new DataTransfer();
  for (const {name, type, data} of files) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {type}));
  }
  const zone = document.querySelector(selector);
  if (isPaste) {
    zone.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
    return;
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    zone.dispatchEvent(
      new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
  }
}"""


OVERFLOW = """() => {
  const page = document.documentElement;
  // The stage scrolls by itself, on purpose.
  const shown = [...document.querySelectorAll("body *:not(.stage *)")];
  const rights = shown.map((one) => one.getBoundingClientRect().right);
  return Math.ceil(Math.max(page.scrollWidth, ...rights) - page.clientWidth);
}"""


class Upload(TypedDict):
    """A file as Playwright takes it."""

    name: str
    mimeType: str
    buffer: bytes


def upload(name: str, data: bytes, media_type: str = "") -> Upload:
    """Make a file to choose or drop."""
    return {"name": name, "mimeType": media_type, "buffer": data}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start the system's Chromium, or skip if there is none."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no Chromium to open the page in (looked for {', '.join(PROGRAMS)})")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """The page, open in a browser, and what must never happen on it.

    Attributes:
        page: Playwright's.
        address: Of the service.
        complaints: What the browser complained of, refused policies included.
        foreign: Addresses of other hosts that were asked.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self._see(request.url))

    def _hear(self, kind: str, text: str) -> None:
        # The browser itself notes each answer of 4xx and 5xx: those are shown on the page.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def _see(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:" + self.address)):
            self.foreign.append(url)

    def open(self) -> Visit:
        """Open the page and wait until it knows the models."""
        self.page.goto(self.address)
        expect(self.page.locator("#model")).to_be_visible()
        return self

    def choose(self, *files: Upload) -> Visit:
        """Choose files by the button, and wait until all are over."""
        self.page.set_input_files("#files", list(files))
        return self.wait()

    def drop(self, *files: Upload, selector: str = "#drop") -> Visit:
        """Drop files on an element, and wait until all are over."""
        return self._transfer(files, selector)

    def paste(self, *files: Upload) -> Visit:
        """Paste files from the clipboard, and wait until all are over."""
        return self._transfer(files, "body", is_paste=True)

    def _transfer(
        self, files: tuple[Upload, ...], selector: str, *, is_paste: bool = False
    ) -> Visit:
        encoded = [
            {
                "name": one["name"],
                "type": one["mimeType"],
                "data": base64.b64encode(one["buffer"]).decode(),
            }
            for one in files
        ]
        arguments = {"files": encoded, "selector": selector, "isPaste": is_paste}
        self.page.evaluate(TRANSFER, arguments)
        return self.wait()

    def wait(self) -> Visit:
        """Wait until all readings are over."""
        count = self.page.locator(".card").count()
        expect(self.page.locator("#tally")).to_have_text(f"{count} of {count} done")
        return self

    def card(self, name: str) -> Locator:
        """Give the card of a file."""
        return self.page.get_by_role("article", name=name, exact=True)

    def overflow_px(self) -> int:
        """Give by how much anything is wider than the window, what is clipped included."""
        width: int = self.page.evaluate(OVERFLOW)
        return width

    def verify_quiet(self) -> None:
        """Check that nothing was complained of and nobody else was asked."""
        assert self.complaints == []
        assert self.foreign == []


def answering(**changes: Any) -> Callable[[Route], None]:
    """Make a handler that answers as a model that abstains at 65 %; changes replace members."""
    point = {"name": "balanced", "threshold": 0.7, "sensitivity": 0.9, "specificity": 0.9}
    result = {
        "id": "0",
        "status": "ok",
        "finding": "PNEUMONIA",
        "label": None,
        "decision": "refer",
        "conclusion": make_conclusion(
            "No answer: a person has to look", "It lies between 60 % and 80 %."
        ),
        "probability": 0.65,
        "probabilities": {"NORMAL": 0.35, "PNEUMONIA": 0.65},
        "operating_point": point,
        "uncertainty": {
            "prediction_set": ["NORMAL", "PNEUMONIA"],
            "coverage": 0.9,
            "refer_band": {"low": 0.6, "high": 0.8},
        },
        "scope": {"in_scope": True, "reasons": [], "codes": []},
        "population": None,
        "warnings": [],
        "image": {"sha256": "0" * 64, "format": "jpeg", "width": 640, "height": 512, "dicom": None},
    }
    model = {"name": "resnet18", "version": "1", "sha256": "0" * 64, "engine": "e"}
    model |= {"provider": "p", "precision": "fp32"}
    timings = {"decode": 1, "queue": 1, "inference": 1, "total": 3}
    body = {"request_id": "r", "model": model, "results": [result | changes], "timings_ms": timings}
    return lambda route: route.fulfill(json=body)


def make_conclusion(headline: str, *reasons: str, subject: str = "pneumonia") -> dict[str, Any]:
    """Make what a result says in words."""
    return {"headline": headline, "subject": subject, "reasons": reasons}


def make_problem(status: int, slug: str) -> dict[str, Any]:
    """Make the arguments of a fulfilled request."""
    body = {"type": f"/docs/problems#{slug}", "title": "T", "status": status, "detail": "Said so."}
    return {
        "status": status,
        "body": json.dumps(body),
        "headers": {"Retry-After": "0", "Content-Type": "application/problem+json"},
    }
