"""External validation: folders and files in other layouts than the training data's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxr.data.external import list_class_folders, list_csv, read_label_map
from cxr.data.labels import ETIOLOGY, PNEUMONIA
from cxr.errors import DataError
from export.__main__ import main
from export.evaluate import Evaluation


@pytest.fixture(scope="module")
def clinic(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders alone, with other names, and a CSV file beside them."""
    root = tmp_path_factory.mktemp("external") / "clinic"
    for ours, theirs in (("NORMAL", "healthy"), ("PNEUMONIA", "PNEUMONIA")):
        (root / theirs).mkdir(parents=True)
        for path in sorted((toy_data / "test" / ours).iterdir())[:4]:
            shutil.copy(path, root / theirs)
    rows = ["label,path,patient,note"]
    for path in sorted(root.rglob("*.jpeg")):
        patient = "one" if path.parent.name == "healthy" else ""
        rows.append(f"{path.parent.name},{path.relative_to(root)},{patient},x")
    (root / "list.csv").write_text("\n".join([*rows, "blurred,none.png,,"]) + "\n")
    return root


def evaluate(bundle: Path, out: Path, *options: str) -> Evaluation:
    given = ["evaluate", "--bundle", str(bundle), "--json", str(out), "--quiet", *options]
    assert main(given) == 0
    return Evaluation.model_validate_json(out.read_bytes())


def test_class_folders_and_csv_give_what_the_split_folder_gives(
    smoke_bundle: Path, toy_data: Path, clinic: Path, tmp_path: Path
) -> None:
    """The same images have the same probabilities, whatever lists them."""
    split = evaluate(smoke_bundle, tmp_path / "a", "--data", str(toy_data))
    known = {Path(score.name).name: score.probability for score in split.scores}
    folders = ("--data", str(clinic), "--label-map", "healthy=NORMAL")
    listed = ("--csv", str(clinic / "list.csv"), "--label-map", "healthy=NORMAL,blurred=")
    for options, called in ((folders, "clinic"), (listed, "list.csv")):
        found = evaluate(smoke_bundle, tmp_path / "b", *options)
        assert found.split == called
        assert {Path(s.name).name: s.probability for s in found.scores} == pytest.approx(
            {name: known[name] for name in (Path(s.name).name for s in found.scores)}, abs=1e-6
        )
        assert [score.label for score in found.scores].count("NORMAL") == 4
        assert found.images == 8
    assert {score.patient for score in found.scores if score.label == "NORMAL"} == {"one"}
    assert len({score.patient for score in found.scores}) == 3, "person0, person1 and one"


def test_csv_tells_the_patient_or_the_file_name_does(clinic: Path) -> None:
    """An empty cell is no patient."""
    found = list_csv(clinic / "list.csv", PNEUMONIA, {"healthy": "NORMAL", "blurred": ""})
    told = {image.patient for image in found if image.label == "NORMAL"}
    others = {image.patient for image in found if image.label == "PNEUMONIA"}
    assert (told, others) == ({"one"}, {"person0", "person1"})


def test_one_class_alone_can_be_evaluated(clinic: Path, smoke_bundle: Path, tmp_path: Path) -> None:
    """Sensitivity is known then, the AUROC is not."""
    shutil.copytree(clinic / "PNEUMONIA", tmp_path / "sick" / "PNEUMONIA")
    found = evaluate(smoke_bundle, tmp_path / "c", "--data", str(tmp_path / "sick"))
    figures = next(iter(found.metrics.values()))
    assert figures["auroc"].value is None
    assert figures["sensitivity"].value is not None


def test_unknown_labels_and_missing_files_are_refused(clinic: Path, tmp_path: Path) -> None:
    """The message says how to map a label or leave it out."""
    with pytest.raises(DataError, match="'healthy', which is not one of NORMAL, PNEUMONIA"):
        list_class_folders(clinic, PNEUMONIA)
    with pytest.raises(DataError, match="--label-map blurred=CLASS"):
        list_csv(clinic / "list.csv", PNEUMONIA, {"healthy": "NORMAL"})
    with pytest.raises(DataError, match="1 of 9 files that do not exist, the first being"):
        list_csv(clinic / "list.csv", PNEUMONIA, {"healthy": "NORMAL", "blurred": "NORMAL"})
    with pytest.raises(DataError, match="not a label map"):
        read_label_map("NORMAL")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,label\na.png,NORMAL\n", "has no column path, but: name, label"),
        ("path;label\na.png;NORMAL\n", "divided by commas"),
        ("path\tlabel\na.png\tNORMAL\n", "divided by commas"),
        ("", "has no column path, label, but: none"),
        ("path,file,label\na.png,b.png,NORMAL\n", "the column path twice"),
        ("path,label,label\na.png,NORMAL,NORMAL\n", "the column label twice"),
        ("path,label\na.png\n", "line 2, has 1 fields, the first line 2"),
        ("path,label\na.png,NORMAL,x\n", "line 2, has 3 fields"),
        ('path,label\n"a.png,NORMAL\nb.png,NORMAL\n', "is not a CSV file"),
        ("path,label\na.png,\n", "line 2, has no label"),
        ("path,label\n,NORMAL\n", "line 2, has no path"),
        ("path,label\na.png,normal\n", "'normal', which is not one of .* Rename it there"),
        ("path,label\na.png,NORMAL\n./a.png,PNEUMONIA\n", "one file in lines 2 and 3"),
        ("path,label\nx.png,NORMAL\ny.png,NORMAL\n", "2 of 2 .* first being x.png in line 2"),
        ("path,label\n..,NORMAL\n", "1 of 1 files that do not exist"),
        ("path,label\na.png,NORMAL\n".encode("utf-16"), "is not UTF-8"),
        ("path,label\nä.png,NORMAL\n".encode("latin-1"), "is not UTF-8"),
        ("path,label\n" + "a" * 200_000 + ",NORMAL\n", "is not a CSV file"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(
    content: str | bytes, said: str, tmp_path: Path
) -> None:
    """What is wrong, in which line, and what to do; nothing is passed over."""
    (tmp_path / "a.png").touch()
    table = tmp_path / "list.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        list_csv(table, PNEUMONIA)


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.png,NORMAL\n",
        "\ufeffPath, Label\r\na.png , NORMAL \r\n\r\n",
        'file,label,other\n"a.png",NORMAL,"x, y"',
    ],
)
def test_tables_of_spreadsheets_are_read(content: str, tmp_path: Path) -> None:
    """Byte order mark, blanks, empty lines; the source, if not stated, is the folder's name."""
    (tmp_path / "a.png").touch()
    (tmp_path / "LIST.CSV").write_text(content, newline="")
    [one] = list_csv(tmp_path / "LIST.CSV", PNEUMONIA)
    assert (one.name, one.label, one.source) == ("a.png", "NORMAL", tmp_path.name)


def test_etiology_is_told_by_file_names_there_too(toy_data: Path) -> None:
    """Class folders alone, PNEUMONIA with both kinds among them, as in the data set."""
    with pytest.raises(DataError, match="is missing"):
        list_class_folders(toy_data / "train" / "NORMAL", ETIOLOGY)
    found = list_class_folders(toy_data / "train", ETIOLOGY)
    assert {image.label for image in found} == {"BACTERIAL"}


def test_contradicting_options_are_refused(
    smoke_bundle: Path, toy_data: Path, clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CSV file has no splits; labels of split folders are the classes."""
    base = ["evaluate", "--bundle", str(smoke_bundle), "--quiet"]
    assert main([*base, "--csv", str(clinic / "list.csv"), "--split", "test"]) == 1
    assert "has no splits" in capsys.readouterr().err
    assert main([*base, "--data", str(toy_data), "--label-map", "A=NORMAL"]) == 1
    assert "--label-map requires" in capsys.readouterr().err
