"""The page for people, about patients unlike those a model was validated on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cxr.verdict.conclusion import OUT_OF_SCOPE
from cxr.verdict.reasons import UNFAMILIAR
from tests.browser import Visit, running_browser, upload
from tests.live import LiveServer, running_server
from tests.populations import CHILDREN, UNPROVEN, as_sections
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_dicom

CHILD = upload("child.dcm", make_dicom(170, PatientAge="003Y"))
ADULT = upload("adult.dcm", make_dicom(170, PatientAge="045Y"))
UNKNOWN_AGE = upload("unknown.dcm", make_dicom(170))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with running_browser() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service whose model takes every picture for a child's, without heatmaps."""
    root: Path = tmp_path_factory.mktemp("page-populations")
    make_bundle(root, populations=as_sections(CHILDREN, UNPROVEN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EXPLAIN", "off")
        with running_server(root) as started:
            yield started


@pytest.fixture
def visit(browser: Browser, server: LiveServer) -> Iterator[Visit]:
    """The page, open."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Visit(context.new_page(), server.address).open()
    yield opened
    opened.verify_quiet()
    context.close()


def test_headline_says_that_the_patient_is_unlike(visit: Visit) -> None:
    """In the first line of the card and in the overview; no probability is shown."""
    visit.choose(CHILD, ADULT, UNKNOWN_AGE)
    adult = visit.card(ADULT["name"])
    expect(adult.locator(".decision")).to_have_text(OUT_OF_SCOPE[UNFAMILIAR])
    expect(adult.locator(".reasons")).to_contain_text("age is outside those the model was")
    expect(adult.locator(".scale")).to_have_count(0)
    expect(visit.page.locator("#overview li.refer")).to_contain_text(OUT_OF_SCOPE[UNFAMILIAR])
    for name in (CHILD["name"], UNKNOWN_AGE["name"]):
        expect(visit.card(name).locator(".decision")).to_have_text("Signs of pneumonia: likely")


def test_details_name_the_population(visit: Visit) -> None:
    """Of a picture of nobody known, too."""
    visit.choose(CHILD, ADULT)
    for file, text in ((CHILD, CHILDREN.who), (ADULT, "none the model knows")):
        card = visit.card(file["name"])
        card.get_by_text(re.compile("^Details")).click()
        row = card.locator("dt", has_text="Population").locator("xpath=following-sibling::dd[1]")
        expect(row).to_have_text(text)


@pytest.mark.parametrize("width", [360, 1280])
def test_table_tells_whom_the_model_knows(visit: Visit, width: int) -> None:
    """Who is not validated is not left out, and a phone shows it within its width."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.page.get_by_text("What this model is for").click()
    rows = visit.page.locator(".choices tbody tr")
    children, adults = (rows.nth(i).locator("td").all_inner_texts() for i in (0, 1))
    assert children == [f"{CHILDREN.who}: validated", *["0.97 (0.95 to 0.99)"] * 3]
    assert adults[:2] == ["adults: not validated", "0.84 (0.80 to 0.88)"]
    assert visit.overflow_px() == 0
