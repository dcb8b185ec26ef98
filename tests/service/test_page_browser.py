"""The page for people, in a real browser, on the running service with the shipped models."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Route, expect

from cxr.verdict.reasons import NOT_A_CHEST, TURNED, UNFAMILIAR, UNLIKE_TRAINING
from export.phantom import draw_phantom, encode_dicom, encode_jpeg, encode_png
from tests.browser import (
    Visit,
    answering,
    make_conclusion,
    make_problem,
    running_browser,
    upload,
)
from tests.live import LiveServer
from tests.service.make_images import make_dicom

JPEG = upload("chest.jpeg", encode_jpeg(draw_phantom(0, 0.5)), "image/jpeg")
PNG = upload("chest.png", encode_png(draw_phantom(1)), "image/png")
DICOM = upload("chest.dcm", encode_dicom(draw_phantom(2), monochrome1=True))
KNEE = upload("knee.dcm", make_dicom(BodyPartExamined="KNEE"))
HTML = "<i>KNEE</i>"
LIKE_DRAWINGS = {UNLIKE_TRAINING.code, NOT_A_CHEST.code, TURNED[1].code, UNFAMILIAR}


def take_for_chests(route: Route) -> None:
    """Let the service's answer through, with drawn radiographs in scope: its models know better."""
    response = route.fetch()
    if not response.ok:
        route.fulfill(response=response)
        return
    answer = response.json()
    [result] = answer["results"]
    if set(result["scope"]["codes"]) <= LIKE_DRAWINGS:
        said = make_conclusion(DECISION, "It is above its line.")
        result |= {"scope": {"in_scope": True, "reasons": [], "codes": []}, "conclusion": said}
        result |= {"decision": "positive", "label": "PNEUMONIA"}
    route.fulfill(response=response, json=answer)


def answer_with_html(route: Route) -> None:
    """Let the service's answer through, with markup where the body part stands."""
    response = route.fetch()
    answer = response.json()
    answer["results"][0]["image"]["dicom"]["body_part"] = HTML
    route.fulfill(response=response, json=answer)


TEXT = upload("notes.jpg", b"These are notes, not a picture.\n" * 20, "image/jpeg")

NOT_AN_IMAGE = "This file is not an image the service can read."
DECISION = "Signs of pneumonia: likely"

GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the whole session: its event loop would be in the way of others."""
    with running_browser() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, live: LiveServer) -> Iterator[Visit]:
    """The page, open; nothing may be complained of, whatever a test does on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.route("**/v1/{explain,predict}*", take_for_chests)
    opened = Visit(context.new_page(), live.address).open()
    yield opened
    opened.verify_quiet()
    context.close()


def decision(card: Locator) -> Locator:
    return card.locator(".decision")


def heatmap(card: Locator) -> Locator:
    return card.get_by_alt_text(re.compile("^Heatmap"))


def picture(card: Locator) -> Locator:
    return card.get_by_alt_text(re.compile("^Radiograph"))


def test_dropped_radiograph_has_an_overlay_and_a_renamed_text_a_plain_error(
    visit: Visit, shared_data: Path
) -> None:
    """What the page is for, with a radiograph as it comes from a hospital."""
    path = min((shared_data / "originals" / "PNEUMONIA").glob("*.jpeg"))
    visit.drop(upload(path.name, path.read_bytes(), "image/jpeg"), TEXT)
    read, refused = visit.card(path.name), visit.card(TEXT["name"])
    expect(decision(read)).to_have_text("Signs of pneumonia: likely")
    expect(heatmap(read)).to_be_visible()
    expect(refused).to_contain_text(NOT_AN_IMAGE)
    expect(decision(refused)).to_have_count(0)


def test_several_files_are_read_side_by_side(visit: Visit) -> None:
    """Each has its card and its line in the overview, in the order they came."""
    visit.drop(JPEG, PNG, DICOM, TEXT, selector="footer")  # anywhere on the page
    overview = visit.page.locator("#overview li")
    names = [one["name"] for one in (JPEG, PNG, DICOM, TEXT)]
    assert overview.locator("a").all_inner_texts() == names
    assert visit.page.locator(".card h3").all_inner_texts() == names
    for name in names[:3]:
        expect(decision(visit.card(name))).to_have_text(DECISION)
        expect(heatmap(visit.card(name))).to_be_visible()
    expect(overview.last).to_contain_text("Not read")
    visit.page.get_by_role("button", name="Clear all").click()
    expect(visit.page.locator(".card")).to_have_count(0)


def test_pasted_picture_is_read(visit: Visit) -> None:
    """As it comes from a viewer's clipboard."""
    card = visit.paste(PNG).card(PNG["name"])
    expect(decision(card)).to_have_text(DECISION)
    expect(picture(card)).to_have_attribute("src", re.compile("^blob:"))


def test_deep_png_is_shown_as_the_model_sees_it(visit: Visit) -> None:
    """Browsers would show 12 bits of 16 nearly black, so the service makes the picture."""
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom(3).astype(np.uint16) * 16).save(buffer, "PNG")
    card = visit.choose(upload("deep.png", buffer.getvalue())).card("deep.png")
    expect(picture(card)).to_have_attribute("src", re.compile("^data:image/png"))
    expect(card.get_by_role("list", name="Warnings")).to_contain_text("Scaled from 12 to 8 bits")


def test_card_says_what_the_service_answered(visit: Visit, live: LiveServer) -> None:
    """Probability, threshold, model and time; and the same as JSON."""
    card = visit.choose(JPEG).card(JPEG["name"])
    result = live.predict(JPEG["buffer"]).json()["results"][0]
    scale = card.get_by_role("img", name=re.compile("^Probability of pneumonia"))
    threshold = round(result["operating_point"]["threshold"] * 100, 1)
    name = scale.get_attribute("aria-label") or ""
    assert f"balanced {threshold:g}\N{NO-BREAK SPACE}%." in name
    card.get_by_text("Details: resnet18 2.0.0").click()
    expect(card.locator("dl")).to_contain_text(result["image"]["sha256"][:12])
    card.get_by_role("button", name="Copy JSON").click()
    expect(visit.page.locator("#announcer")).to_contain_text("JSON copied.")
    copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))["results"][0]
    assert copied["probability"] == pytest.approx(result["probability"], abs=1e-4)
    assert copied["explanation"]["heatmap"]["values"]
    assert "heatmap_png" not in copied["explanation"]


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.jpeg", "it's $(touch pwned).jpeg"])
def test_file_name_is_text_for_the_page_and_the_shell(
    visit: Visit, name: str, tmp_path: Path
) -> None:
    """Whatever a file is called, nothing of it runs; the copied command reads that file."""
    visit.choose(upload(name, JPEG["buffer"]))
    expect(visit.page.locator(".card h3")).to_have_text(name)
    expect(visit.page.locator("img[src=x]")).to_have_count(0)
    visit.page.get_by_role("button", name="Copy curl").click()
    expect(visit.page.locator("#announcer")).to_contain_text("Command copied.")
    command = visit.page.evaluate("navigator.clipboard.readText()")
    if shutil.which("curl") is None:
        pytest.skip("curl is absent")
    (tmp_path / name).write_bytes(JPEG["buffer"])
    done = subprocess.run(
        ["sh", "-c", f"{command} -s"], cwd=tmp_path, capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["results"][0]["status"] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_out_of_scope_has_a_reason_and_neither_number_nor_heatmap(visit: Visit) -> None:
    """What a model says of a knee is about nothing; text of the header is only text."""
    visit.page.route("**/v1/explain*", answer_with_html)
    visit.choose(KNEE, upload("other.dcm", KNEE["buffer"]))  # two, for the overview
    card = visit.card(KNEE["name"])
    expect(decision(card)).to_have_text("Not a chest radiograph")
    expect(card).to_contain_text("The DICOM body part is not the chest.")
    card.get_by_text("Details:").click()
    expect(card.locator("dl")).to_contain_text(HTML)
    expect(card.locator("i")).to_have_count(0)
    expect(card.locator(".scale")).to_have_count(0)
    expect(heatmap(card)).to_have_count(0)
    expect(card.get_by_label("Heatmap for")).to_have_count(0)
    expect(card.locator(".answer")).not_to_contain_text("%")
    expect(card).not_to_contain_text("Probability")
    line = visit.page.locator("#overview li").first
    expect(line).to_contain_text("Not a chest radiograph")
    expect(line).not_to_contain_text("%")


def test_abstention_near_the_threshold_is_drawn_and_told(visit: Visit) -> None:
    """The band in which the model refers is on the scale and in the reason."""
    visit.page.route("**/v1/explain*", answering())
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(decision(card)).to_have_text("No answer: a person has to look")
    expect(card.locator(".reasons")).to_have_text("It lies between 60 % and 80 %.")
    band = card.locator(".band").bounding_box()
    track = card.locator(".track").bounding_box()
    assert band is not None
    assert track is not None
    assert band["width"] == pytest.approx(0.2 * track["width"], abs=2)
    assert band["x"] - track["x"] == pytest.approx(0.6 * track["width"], abs=2)


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_words_are_the_services_whatever_the_finding(visit: Visit, kind: str) -> None:
    """The page knows no finding of its own: what it says of one comes with the answer."""
    said = make_conclusion(
        "If there is pneumonia: viral rather than bacterial",
        "It is below 22.7 %.",
        "The model presupposes pneumonia.",
        subject="bacterial rather than viral pneumonia",
    )
    changes = {"finding": "BACTERIAL", "label": "VIRAL", "decision": kind, "conclusion": said}
    classes = {"VIRAL": 0.9, "BACTERIAL": 0.1}
    answer = answering(**changes, probability=0.1, probabilities=classes)
    visit.page.route("**/v1/explain*", answer)
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(decision(card)).to_have_text(said["headline"])
    expect(card.locator(".reasons p")).to_have_text(said["reasons"])
    name = re.compile("^Probability of bacterial rather than viral pneumonia 10")
    expect(card.get_by_role("img", name=name)).to_be_visible()
    expect(visit.page.get_by_role("status")).to_contain_text(said["headline"])
    expect(card).not_to_contain_text("Signs of")


def test_opacity_and_switch_change_the_overlay(visit: Visit) -> None:
    """The slider sets the opacity, the switch and the key H hide the heatmap."""
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(heatmap(card)).to_have_css("opacity", "0.6")
    card.get_by_label("Opacity").fill("20")
    expect(heatmap(card)).to_have_css("opacity", "0.2")
    card.get_by_label("Heatmap", exact=True).uncheck()
    expect(card.locator("img.heatmap")).to_be_hidden()
    card.locator(".stage").press("h")
    expect(card.locator("img.heatmap")).to_be_visible()


def test_class_asks_for_another_heatmap_only(visit: Visit) -> None:
    """The answer stays, and the picture over the radiograph changes."""
    card = visit.choose(JPEG).card(JPEG["name"])
    before = heatmap(card).get_attribute("src") or ""
    with visit.page.expect_request(re.compile(r"/v1/explain.*target=NORMAL")):
        card.get_by_label("Heatmap for").select_option("NORMAL")
    expect(heatmap(card)).not_to_have_attribute("src", before)
    expect(card.get_by_label("Method").locator("option")).to_have_text(["Grad-CAM"])
    expect(heatmap(card)).to_have_attribute("alt", "Heatmap: regions that spoke for normal")
    expect(decision(card)).to_have_text(DECISION)


def test_model_and_operating_point_are_chosen_for_all(visit: Visit) -> None:
    """What was read stays until it is read again."""
    card = visit.choose(JPEG).card(JPEG["name"])
    visit.page.get_by_label("Model", exact=True).select_option("small_cnn")
    visit.page.get_by_label("Operating point", exact=True).select_option("screening")
    expect(card).to_contain_text("resnet18 2.0.0")
    visit.page.get_by_role("button", name="Read all again").click()
    expect(card).to_contain_text("Details: small_cnn 2.0.0")
    scale = card.get_by_role("img", name=re.compile("operating point screening"))
    expect(scale).to_be_visible()


def test_window_changes_the_picture_of_a_dicom(visit: Visit) -> None:
    """Narrower it differs, as sent it is again what it was; JPEG has no window."""
    visit.choose(DICOM, JPEG)
    card = visit.card(DICOM["name"])
    width = card.get_by_label("Width", exact=True)
    expect(width).to_have_value("4080")
    first = picture(card).get_attribute("src") or ""
    width.fill("300")
    expect(picture(card)).not_to_have_attribute("src", first)
    expect(card.get_by_label("Window width, slider")).to_have_value("300")
    expect(heatmap(card)).to_be_visible()
    card.get_by_role("button", name="As sent").click()
    expect(picture(card)).to_have_attribute("src", first)
    expect(visit.card(JPEG["name"]).get_by_label("Width", exact=True)).to_have_count(0)


def test_keyboard_is_enough(visit: Visit) -> None:
    """Choose, look, dim and remove without a mouse; focus is never lost."""
    keyboard = visit.page.keyboard
    # The first listener makes the browser hand over its file choosers, which takes a moment.
    visit.page.on("filechooser", lambda _: None)
    tab_to(visit, "#files")
    with visit.page.expect_file_chooser() as chooser:
        keyboard.press("Enter")
    chooser.value.set_files(JPEG)
    card = visit.wait().card(JPEG["name"])
    tab_to(visit, ".stage")
    keyboard.press("h")
    expect(card.locator("img.heatmap")).to_be_hidden()
    keyboard.press("h")
    tab_to(visit, ".opacity input")
    keyboard.press("End")
    expect(heatmap(card)).to_have_css("opacity", "1")
    for _ in range(30):
        keyboard.press("Shift+Tab")
        if visit.page.evaluate("document.activeElement.textContent") == "Remove":
            break
    keyboard.press("Enter")
    expect(card).to_have_count(0)
    expect(visit.page.locator("#files")).to_be_focused()


def tab_to(visit: Visit, selector: str) -> None:
    """Press Tab until an element has the focus, which must be visible."""
    for _ in range(30):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("(one) => document.activeElement.matches(one)", selector):
            assert visit.page.evaluate("document.activeElement.matches(':focus-visible')")
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_outcomes_are_announced(visit: Visit) -> None:
    """Who does not see the page hears the decision and the error."""
    region = visit.page.get_by_role("status")
    visit.choose(JPEG)
    expect(region).to_contain_text(f"chest.jpeg: {DECISION}, probability")
    visit.choose(TEXT)
    expect(region).to_contain_text(f"notes.jpg: {NOT_AN_IMAGE}")


def verify_accessible(visit: Visit) -> None:
    """No serious violation of axe's rules, in both colour schemes."""
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found: list[dict[str, Any]] = Axe().run(visit.page).response["violations"]
        grave = [
            (one["id"], [node["target"] for node in one["nodes"]])
            for one in found
            if one["impact"] in GRAVE
        ]
        assert grave == [], scheme


def test_accessible_empty_and_with_an_error(visit: Visit) -> None:
    """By axe-core's rules, folded parts opened."""
    visit.page.get_by_text("What this model is for").click()
    verify_accessible(visit)
    visit.choose(TEXT)
    visit.page.get_by_text("What the service said").click()
    verify_accessible(visit)


def test_accessible_with_results(visit: Visit) -> None:
    """By axe-core's rules: a radiograph with its heatmap, and a DICOM file out of scope."""
    visit.choose(JPEG, KNEE)
    expect(visit.card(KNEE["name"]).get_by_label("Width", exact=True)).to_be_visible()
    visit.card(JPEG["name"]).get_by_text("Details:").click()
    verify_accessible(visit)


def test_dark_and_light_follow_the_system(visit: Visit) -> None:
    """The ground of the page changes, that of the radiograph stays near black."""
    visit.choose(JPEG)
    grounds = set()
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        stage = visit.page.locator(".stage").evaluate(
            "(one) => getComputedStyle(one).backgroundColor"
        )
        assert max(map(int, re.findall(r"\d+", stage))) < 16
    assert len(grounds) == 2


def test_phone_width_needs_no_scrolling_sideways(visit: Visit) -> None:
    """Empty, with results of all kinds, and with a name that has no place to break."""
    visit.page.set_viewport_size({"width": 360, "height": 740})
    assert visit.overflow_px() == 0
    visit.choose(DICOM, TEXT, upload("a" * 120 + ".png", PNG["buffer"]))
    for details in visit.page.locator("summary").all():
        details.click()
    assert visit.overflow_px() == 0
    name = visit.page.locator("#overview a").first.bounding_box()
    assert name is not None
    assert name["height"] < 40  # a name that fits in a line has one


def test_without_explanations_the_decision_is_still_read(visit: Visit) -> None:
    """A service that explains nothing says so, and answers."""
    answer = make_problem(501, "explain-disabled")
    del answer["headers"]["Retry-After"]
    visit.page.route("**/v1/explain*", lambda route: route.fulfill(**answer))
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(decision(card)).to_have_text(DECISION)
    expect(card).to_contain_text("No heatmap is served here.")
    expect(picture(card)).to_be_visible()


def test_busy_service_is_asked_again(visit: Visit) -> None:
    """After the seconds it names; the person sees why it takes long."""
    answers = iter([make_problem(429, "queue-full"), make_problem(503, "not-ready")])

    def busy_twice(route: Route) -> None:
        answer = next(answers, None)
        if answer is None:
            route.fallback()
        else:
            route.fulfill(**answer)

    visit.page.route("**/v1/explain*", busy_twice)
    visit.page.set_input_files("#files", JPEG)
    expect(visit.page.locator(".status")).to_contain_text("Trying again in")
    expect(decision(visit.wait().card(JPEG["name"]))).to_have_text(DECISION)


def test_service_that_is_gone_is_told_in_plain_words(visit: Visit) -> None:
    """And once it is back, the same file can be read."""
    visit.page.route("**/v1/*", lambda route: route.abort("connectionrefused"))
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(card).to_contain_text("The service cannot be reached.")
    visit.page.unroute("**/v1/*")
    card.get_by_role("button", name="Read again").click()
    expect(decision(card)).to_have_text(DECISION)


def test_page_opened_too_early_learns_the_models_later(visit: Visit) -> None:
    """A service that was away when the page was opened is asked again with the next file."""
    visit.page.route("**/v1/models", lambda route: route.abort("connectionrefused"))
    visit.page.goto(visit.address)
    expect(visit.page.locator("#choices")).to_contain_text("The service cannot be reached.")
    visit.page.unroute("**/v1/models")
    card = visit.choose(JPEG).card(JPEG["name"])
    expect(visit.page.locator("#model")).to_have_value("resnet18")
    expect(decision(card)).to_have_text(DECISION)


def test_reading_can_be_cancelled(visit: Visit) -> None:
    """What was asked for and not answered is dropped."""
    visit.page.route("**/v1/explain*", lambda route: None)  # never answered
    visit.page.set_input_files("#files", JPEG)
    visit.page.get_by_role("button", name="Cancel").click()
    expect(visit.card(JPEG["name"])).to_contain_text("Cancelled")


def test_nothing_is_stored_and_only_our_files_run(visit: Visit) -> None:
    """No cookie, no storage; a script that is put in does not run."""
    visit.choose(JPEG)
    assert visit.page.context.cookies() == []
    assert visit.page.evaluate("localStorage.length + sessionStorage.length") == 0
    visit.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'document.title = \"taken\"'}))"
    )
    assert visit.page.title() == "Chest radiograph reading, research use only"
    assert any("Content Security Policy" in text for text in visit.complaints)
    visit.complaints.clear()
