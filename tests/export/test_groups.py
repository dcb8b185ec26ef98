"""Figures for each population and source, judged as the service judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.data.external import list_csv
from cxr.data.labels import PNEUMONIA
from cxr.verdict.reasons import UNFAMILIAR
from export.__main__ import main
from export.evaluate import Evaluation
from tests.populations import ADULTS, CHILDREN, UNPROVEN, as_sections
from tests.service.make_bundle import LIKE_ADULTS, make_bundle
from tests.service.make_images import make_dicom, make_flat_png, make_png

ROWS = (
    ("a.png", make_png(40), "NORMAL", "1", "children", "clinic"),
    ("b.png", make_png(230), "PNEUMONIA", "2", "children", "clinic"),
    ("c.png", make_png(230), "NORMAL", "3", "children", "practice"),
    ("d.dcm", make_dicom(230, PatientAge="045Y"), "PNEUMONIA", "4", "adults", "clinic"),
    ("e.dcm", make_dicom(40, PatientAge="045Y"), "NORMAL", "4", "adults", "clinic"),
    ("f.dcm", make_dicom(40, PatientAge="003Y"), "NORMAL", "5", "adults", "clinic"),
    ("g.png", make_flat_png(200), "NORMAL", "6", "adults", "clinic"),
)
"""File, content, label, patient, population, source."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of two populations and two sources."""
    root = tmp_path_factory.mktemp("groups")
    lines = ["file,label,patient,population,set"]
    for name, content, *told in ROWS:
        (root / name).write_bytes(content)
        lines.append(",".join((name, *told)))
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes every picture for a child's."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def evaluate(bundle: Path, table: Path, out: Path, *options: str) -> Evaluation:
    arguments = ["evaluate", "--bundle", str(bundle), "--csv", str(table), "--json", str(out)]
    assert main([*arguments, "--quiet", *options]) == 0
    return Evaluation.model_validate_json(out.read_bytes())


def test_columns_have_two_names_each(table: Path) -> None:
    """What is not stated is empty."""
    found = list_csv(table, PNEUMONIA)
    told = [(one.name, one.patient, one.population, one.source) for one in found]
    assert told == [(name, *rest) for name, _, _, *rest in ROWS]
    other = table.with_name("other.csv")
    other.write_text("path,label,source\na.png,NORMAL,s\n")
    [one] = list_csv(other, PNEUMONIA)
    assert (one.name, one.patient, one.population, one.source) == ("a.png", "a", "", "s")


def test_each_group_has_its_figures(bundle: Path, table: Path, tmp_path: Path) -> None:
    """An age of somebody else makes a picture unfamiliar; a blank one is out of scope."""
    found = evaluate(bundle, table, tmp_path / "e.json", "--by", "population,source")
    groups = {tuple(one.by.values()): one for one in found.groups}
    assert list(groups) == [
        ("adults", "clinic"),
        ("children", "clinic"),
        ("children", "practice"),
    ]
    adults, clinic, practice = groups.values()
    shares = (adults.decided, adults.referred, adults.unfamiliar, adults.out_of_scope)
    assert shares == (0.25, 0.0, 0.5, 0.25)
    assert (adults.images, adults.patients) == (4, 3)
    assert (clinic.decided, clinic.unfamiliar) == (1.0, 0.0)
    assert clinic.metrics["balanced"]["auroc"].value == 1.0
    assert clinic.accuracy_of_decided is not None
    assert clinic.accuracy_of_decided.value == 1.0
    assert practice.metrics["balanced"]["auroc"].value is None
    assert practice.metrics["balanced"]["specificity"].value == 0.0
    assert [one.belongs for one in found.scores] == [
        *["children"] * 3,
        *[None] * 2,
        "children",
        None,
    ]


def test_who_is_not_validated_is_unfamiliar(table: Path, tmp_path: Path) -> None:
    """The verdict is the service's, by the bundle's own populations and lines."""
    scope = {"layout": -1.0, "embedding": 1e9, "populations": LIKE_ADULTS}
    for second, unfamiliar in ((ADULTS, 0), (UNPROVEN, 3)):
        changes = {
            "scope": {"thresholds": scope, "figures": []},
            "populations": as_sections(CHILDREN, second),
        }
        bundle = make_bundle(tmp_path, f"second-{unfamiliar}", **changes)
        found = evaluate(bundle, table, tmp_path / "e.json", "--by", "population")
        children = found.groups[1]
        assert children.by == {"population": "children"}
        assert children.unfamiliar == pytest.approx(unfamiliar / 3)
        codes = [one.codes for one in found.scores if one.population == "children"]
        assert codes == [(UNFAMILIAR,) if unfamiliar else ()] * 3
        assert children.accuracy_of_decided is None or not unfamiliar


def test_table_has_a_row_for_each_group(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below the figures of all images; without --by these stand alone."""
    assert evaluate(bundle, table, tmp_path / "e.json").groups == ()
    plain = capsys.readouterr().out
    evaluate(bundle, table, tmp_path / "e.json", "--by", "population")
    told = capsys.readouterr().out
    assert told.startswith(plain)
    _, header, adults, children = told.removeprefix(plain).strip().splitlines()
    assert header.split()[:3] == ["population", "images", "auroc"]
    assert (adults.split()[:2], children.split()[:2]) == (["adults", "4"], ["children", "3"])
    assert len({len(header), len(adults), len(children)}) == 1


@pytest.mark.parametrize("keys", ["", "label", "population,population", "population;source"])
def test_other_keys_are_refused(keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names those there are."""
    with pytest.raises(SystemExit):
        main(["evaluate", "--bundle", "b", "--csv", "c", "--by", keys])
    assert "none of population, source and population,source" in capsys.readouterr().err


def test_what_is_not_stated_cannot_be_grouped_by(
    bundle: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear line."""
    other = table.with_name("bare.csv")
    other.write_text("path,label\na.png,NORMAL\n")
    options = ["--csv", str(other), "--by", "population", "--quiet"]
    assert main(["evaluate", "--bundle", str(bundle), *options]) == 1
    assert "No image has a population" in capsys.readouterr().err
