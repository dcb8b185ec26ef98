"""Forms as clients write them, and what their images are called in the answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from service.http.form import choose_ids
from service.http.json_body import MAX_ID_CHARS
from service.multipart import MAX_PREAMBLE_BYTES, split_related
from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_jpeg, make_png
from tests.service.test_body import PREDICT, pieces

pytestmark = pytest.mark.anyio

FORM = "multipart/form-data; boundary=x"
FIRST, SECOND = make_png(100), make_jpeg(150)


def part(content: bytes, disposition: str = 'name="files"; filename="a.png"') -> bytes:
    """Write one part, without its boundary."""
    return f"Content-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


BODY = b"--x\r\n" + part(FIRST) + b"--x\r\n" + part(SECOND, 'name="files"') + b"--x--\r\n"

FORMS = {
    "plain": (FORM, BODY),
    "no end of line": (FORM, BODY[:-2]),
    "leading line": (FORM, b"\r\n" + BODY),
    "leading lines": (FORM, b"\r\n\r\n\r\n" + BODY),
    "preamble": (FORM, b"This is a message with multiple parts in MIME format.\r\n" + BODY),
    "preamble with hyphens": (FORM, b"-- --y --xy\r\n--xy\r\n-\r\n" + BODY),
    "long preamble": (FORM, b"p" * (MAX_PREAMBLE_BYTES - 2) + b"\r\n" + BODY),
    "epilogue": (FORM, BODY + b"The end.\r\n--x\r\nno part"),
    "blanks": (FORM, BODY.replace(b"--x\r\n", b"--x \t \r\n")),
    "blanks behind the last": (FORM, BODY.replace(b"--x--\r\n", b"--x--  \r\n")),
    "all of it": (FORM, b"pre\r\n" + BODY.replace(b"--x\r\n", b"--x  \r\n") + b" post"),
    "boundary in capitals": ("Multipart/Form-Data; charset=utf-8; Boundary=x", BODY),
    "quoted boundary": (
        'multipart/form-data; boundary="a b;=c"',
        BODY.replace(b"--x", b"--a b;=c"),
    ),
    "long boundary": (
        f"multipart/form-data; boundary={'-' * 70}",
        BODY.replace(b"--x", b"--" + b"-" * 70),
    ),
}


@pytest.mark.parametrize("size", [1, 5, 100_000])
@pytest.mark.parametrize("form", FORMS)
async def test_form_is_read(form: str, size: int, service: Running) -> None:
    """Whatever RFC 2046 allows around parts, however it is cut on its way."""
    content_type, body = FORMS[form]
    headers = {"Content-Type": content_type}
    answer = await service.client.post(PREDICT, content=pieces(body, size), headers=headers)
    results = answer.json()["results"]
    assert [one["image"]["format"] for one in results] == ["png", "jpeg"]
    assert [one["id"] for one in results] == ["a.png", "1"]


@pytest.mark.parametrize("form", [one for one in FORMS if "boundary" not in one])
def test_related_is_read_alike(form: str) -> None:
    """The gateway's parts come through the same parser."""
    related, body = 'multipart/related; type="application/dicom"; boundary=x', FORMS[form][1]
    assert split_related(related, body) == [FIRST, SECOND]


@pytest.mark.parametrize(
    "body",
    [
        b"p" * (MAX_PREAMBLE_BYTES + 1) + b"\r\n" + BODY,
        b"p" * 100_000,
        b"preamble\r\n" + BODY[:-6],
        b"preamble " + BODY.replace(b"\r\n--x", b"\r\n --x"),
        BODY.replace(b"--x\r\n", b"--x blanks\r\n"),
    ],
    ids=["endless preamble", "only a preamble", "cut", "no boundary", "words behind the boundary"],
)
async def test_what_is_no_form_is_refused(body: bytes, service: Running) -> None:
    """A preamble excuses nothing."""
    answer = await service.client.post(PREDICT, content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 400
    assert "malformed" in answer.json()["detail"]


@pytest.mark.parametrize(
    "disposition",
    [
        *(
            'name="file"; filename="a"',
            'name="files[]"; filename="a"',
            'name="image"; filename="a"',
        ),
        *(
            'filename="a"',
            "name=Jane; filename=a",
            'name="files"',
            'name="image"',
            'name=""',
            "x=y",
        ),
    ],
)
async def test_part_of_any_name_is_an_image(disposition: str, service: Running) -> None:
    """If it is a file, is named files, or holds an image."""
    body = b"--x\r\n" + part(FIRST, disposition) + b"--x--"
    answer = await service.client.post(PREDICT, content=body, headers={"Content-Type": FORM})
    assert answer.json()["results"][0]["image"]["format"] == "png"


async def test_part_that_is_no_image_is_refused_without_its_words(service: Running) -> None:
    """An option in a form would be ignored; where options go is said, and which part it is."""
    fields = {"model": "cnn", "patient": "Jane Doe"}
    for name, value in fields.items():
        parts = [("files", ("a.png", FIRST)), (name, (None, value))]
        answer = await service.client.post(PREDICT, files=parts)
        assert answer.status_code == 400
        assert "Part 2" in answer.json()["detail"]
        assert not any(word in answer.json()["detail"] for word in ("Jane", "patient", "cnn"))


async def test_field_in_which_no_file_was_chosen_is_passed_over(service: Running) -> None:
    """Browsers send it without name and content."""
    empty = b"--x\r\n" + part(b"", 'name="more"; filename=""')
    for body, status in ((empty + BODY, 200), (empty + b"--x--", 400)):
        answer = await service.client.post(PREDICT, content=body, headers={"Content-Type": FORM})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        ([None, "b.png", ""], ["0", "b.png", "2"]),
        (["a.png", "a.png", "b.png"], ["0", "1", "b.png"]),
        (["x/a.png", "C:\\y\\b.png", "/etc/passwd", "../"], ["a.png", "b.png", "passwd", "3"]),
        (["1", "0"], ["0", "1"]),
        (["1", None], ["0", "1"]),
        (["7", None], ["7", "1"]),
        (["Müller, Jörg.dcm"], ["Müller, Jörg.dcm"]),
        (["a\r\nb\x00\u202e.png", "\t "], ["ab.png", "1"]),
        (["n" * 1000, "n" * 999], ["0", "1"]),
        (["n" * 1000], ["n" * MAX_ID_CHARS]),
        (["image"] * 4000, [str(i) for i in range(4000)]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_ids_are_file_names_or_positions(names: list[str | None], ids: list[str]) -> None:
    """Each once, short, without folders."""
    assert choose_ids(names) == ids
    assert len(set(ids)) == len(ids)


async def test_failed_image_is_called_as_its_file(service: Running) -> None:
    """Whoever sends many finds the bad one."""
    files = [("files", (f"{name}.dcm", file)) for name, file in (("a", FIRST), ("b", b"junk"))]
    answer = await service.client.post(PREDICT, files=files)
    assert [(one["id"], one["status"]) for one in answer.json()["results"]] == [
        ("a.dcm", "ok"),
        ("b.dcm", "error"),
    ]


JSON_BODY: dict[str, Any] = {"images": [{"data": base64.b64encode(make_dicom()).decode()}]}


@pytest.mark.parametrize(
    ("mark", "status"), [(b"", 200), (b"\xef\xbb\xbf", 200), (b"\xef\xbb\xbf" * 2, 400)]
)
async def test_byte_order_mark_before_json_is_passed_over(
    mark: bytes, status: int, service: Running
) -> None:
    """One, as RFC 8259 allows (8.1)."""
    body = mark + json.dumps(JSON_BODY).encode()
    headers = {"Content-Type": "application/json"}
    answer = await service.client.post(PREDICT, content=body, headers=headers)
    assert answer.status_code == status


async def test_image_without_id_may_say_so(service: Running) -> None:
    """Null is as good as nothing."""
    images = [{"id": None, **JSON_BODY["images"][0]}, {"id": "x", **JSON_BODY["images"][0]}]
    answer = await service.client.post(PREDICT, json={"images": images})
    assert [one["id"] for one in answer.json()["results"]] == ["0", "x"]
