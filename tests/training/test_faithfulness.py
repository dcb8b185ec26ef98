"""Deletion and insertion, randomised weights, lung field: checks that can tell good from bad."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr.bundles.run import open_run
from cxr.errors import RunError
from cxr.explain.evidence import EVIDENCE_NAME, ExplanationEvidence, read_evidence
from cxr.explain.grad_cam import GradCam
from cxr.networks.served import served_network
from export.phantom import draw_phantom, encode_png
from training.__main__ import main
from training.heatmaps.deletion import STEPS, area, blurred, curves_of
from training.heatmaps.explaining import choose_evenly, heatmaps_of
from training.heatmaps.randomisation import cascade, spearman, ssim
from training.report.bootstrap import estimate_mean

SIDE = 56
CORNER = SIDE // 2


def corner_scorer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model that looks at one corner only: the share of white pixels there is its answer."""
    seen = (images[:, 0, :CORNER, :CORNER] / 255.0).mean(axis=(1, 2))
    return np.stack([1 - seen, seen], axis=1).astype(np.float32)


def corner_map(hot: bool) -> NDArray[np.float32]:
    heatmap = np.full((7, 7), 0.0 if hot else 1.0, dtype=np.float32)
    heatmap[:4, :4] = 1.0 if hot else 0.0
    return heatmap


def test_right_map_beats_random_and_wrong_map_loses() -> None:
    """Against a model that looks at one corner, the corner's map deletes early, inserts early."""
    white = np.full((1, SIDE, SIDE), 255, np.uint8)
    black = np.zeros_like(white)
    maps = [corner_map(hot=True), corner_map(hot=False)]
    found = curves_of(white, black, maps, 1, corner_scorer, np.random.default_rng(0))
    (right, wrong), random = area(found.deletion), area(found.random).mean()
    assert right < random - 0.2
    assert wrong > random + 0.2
    (right, wrong) = area(found.insertion)
    assert right > random + 0.2
    assert wrong < random - 0.2


def test_curves_begin_and_end_where_they_say() -> None:
    """Deletion runs from the intact image to the baseline, insertion back; both have all steps."""
    white = np.full((1, SIDE, SIDE), 255, np.uint8)
    maps = [corner_map(hot=True)]
    found = curves_of(white, np.zeros_like(white), maps, 1, corner_scorer, np.random.default_rng(0))
    assert found.deletion.shape == found.insertion.shape == (1, STEPS + 1)
    assert found.deletion[0, [0, -1]] == pytest.approx([1, 0])
    assert found.insertion[0, [0, -1]] == pytest.approx([0, 1])


def test_area_of_a_straight_line_is_half() -> None:
    """The trapezoid rule over the share removed."""
    assert area(np.linspace(1, 0, STEPS + 1)) == pytest.approx(0.5)


def test_blur_removes_detail_and_keeps_brightness() -> None:
    """Noise is gone, the mean stays."""
    noise = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE), dtype=np.uint8)
    smooth = blurred(noise)
    assert smooth.std() < noise.std() / 3
    assert smooth.mean() == pytest.approx(noise.mean(), abs=3)


def test_likeness_of_equal_opposite_and_even_maps() -> None:
    """1 for the same map, -1 in rank for its opposite, 0 for one that orders nothing."""
    maps = np.random.default_rng(0).random((3, 7, 7), dtype=np.float32)
    assert spearman(maps, maps) == pytest.approx(np.ones(3))
    assert spearman(maps, maps**3) == pytest.approx(np.ones(3))
    assert spearman(maps, 1 - maps) == pytest.approx(-np.ones(3))
    assert spearman(maps, np.zeros_like(maps)) == pytest.approx(np.zeros(3))
    assert ssim(maps, maps) == pytest.approx(np.ones(3))
    assert (ssim(maps, 1 - maps) < 0.2).all()


def test_randomised_network_loses_the_map(smoke_run: Path) -> None:
    """Stages go from the classifier down; the trained network and its own maps stay."""
    run = open_run(smoke_run)
    served = served_network(smoke_run / "weights.safetensors", run)
    before = copy.deepcopy(served.state_dict())
    size = run.preprocessing.size_px
    pixels = np.stack(
        [np.array(Image.fromarray(draw_phantom(i, 1.0)).resize((size, size))) for i in range(6)]
    )[:, np.newaxis]
    trained = heatmaps_of(GradCam(served), pixels, [1] * 6, "layercam")
    steps = dict(cascade(served, run.architecture, 2, seed=0))
    assert list(steps) == ["fc2", "fc1", "block3", "block2", "block1"]
    first, last = steps["fc2"].state_dict(), steps["block1"].state_dict()
    assert (first["network.fc2.weight"] != before["network.fc2.weight"]).any()
    assert (first["network.fc1.weight"] == before["network.fc1.weight"]).all()
    assert (last["network.block1.0.weight"] != before["network.block1.0.weight"]).any()
    again = dict(cascade(served, run.architecture, 2, seed=0))["block1"].state_dict()
    assert all((last[name] == again[name]).all() for name in last)
    assert all((served.state_dict()[name] == before[name]).all() for name in before)
    randomised = heatmaps_of(GradCam(steps["block1"]), pixels, [1] * 6, "layercam")
    same = heatmaps_of(GradCam(served), pixels, [1] * 6, "layercam")
    assert spearman(trained, same) == pytest.approx(np.ones(6))
    assert spearman(trained, randomised).mean() < 0.6


def test_interval_comes_from_patients_not_images() -> None:
    """A hundred copies of two patients' images are no more certain than two images."""
    values = np.repeat([0.0, 1.0], 100)
    narrow = estimate_mean(values, np.array([str(i) for i in range(200)]), seed=0)
    wide = estimate_mean(values, np.repeat(["a", "b"], 100), seed=0)
    assert narrow.value == wide.value == 0.5
    assert narrow.low is not None
    assert narrow.low > 0.4
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_missing_values_are_left_out() -> None:
    """A map that could not be measured does not spoil the mean; none at all gives no figure."""
    patients = np.array(["a", "b", "c"])
    assert estimate_mean([np.nan, 1.0, 1.0], patients, seed=0).value == 1.0
    assert estimate_mean([np.nan] * 3, patients, seed=0).value is None


@pytest.fixture(scope="module")
def measured(smoke_run: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with evidence, and its report beside it."""
    root = tmp_path_factory.mktemp("measured")
    run = Path(shutil.copytree(smoke_run, root / "run"))
    arguments = ["faithfulness", "--run", str(run), "--data", str(toy_data), "--n", "8"]
    arguments += ["--lungs", str(Path(__file__).parents[2] / "models" / "lungs")]
    for folder in ("images", "infection_masks"):
        (root / "marked" / folder).mkdir(parents=True)
    for i in range(4):
        (root / "marked" / "images" / f"{i}.png").write_bytes(encode_png(draw_phantom(i, 1.0)))
        region = np.zeros((64, 64), np.uint8)
        region[10:50, 40:60] = 255
        (root / "marked" / "infection_masks" / f"{i}.png").write_bytes(encode_png(region))
    arguments += ["--localisation", str(root / "marked")]
    arguments += ["--save", "--out", str(root / "report"), "--device", "cpu", "--quiet"]
    assert main(arguments) == 0
    return root


def test_command_writes_evidence_of_all_methods_and_a_report(measured: Path) -> None:
    """The run carries what the report shows, and it can be read again as it was."""
    run = open_run(measured / "run")
    evidence = read_evidence(measured / "run", run.weights_sha256)
    assert evidence is not None
    assert evidence.images == 8
    assert set(evidence.dependence) == {"trained-on"}
    assert evidence.pointing_images == 4
    assert (
        set(evidence.lung_share)
        == set(evidence.pointing)
        == {"gradcam", "gradcam_plus_plus", "layercam"}
    )
    assert {(c.group, c.baseline) for c in evidence.curves} >= {("true_positive", "blur")}
    assert ExplanationEvidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert (measured / "report" / EVIDENCE_NAME).read_text() == (
        measured / "run" / EVIDENCE_NAME
    ).read_text()
    page = (measured / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "Randomised weights" in page


def test_evidence_of_other_weights_is_refused(measured: Path) -> None:
    """Weights that were trained again have no evidence yet; none at all is no error."""
    with pytest.raises(RunError, match="other weights"):
        read_evidence(measured / "run", "0" * 64)
    assert read_evidence(measured, "0" * 64) is None


def test_evidence_with_former_names_of_methods_can_be_read(measured: Path, tmp_path: Path) -> None:
    """What was measured before a method was renamed is still worth something."""
    text = (measured / "run" / EVIDENCE_NAME).read_text()
    (tmp_path / EVIDENCE_NAME).write_text(text.replace('"gradcam_plus_plus"', '"gradcam++"'))
    weights = open_run(measured / "run").weights_sha256
    assert read_evidence(tmp_path, weights) == read_evidence(measured / "run", weights)


def test_damaged_evidence_is_refused(measured: Path, tmp_path: Path) -> None:
    """A field that is missing is named."""
    (tmp_path / EVIDENCE_NAME).write_text('{"schema_version": 2}')
    with pytest.raises(RunError, match="is not valid at weights_sha256"):
        read_evidence(tmp_path, "0" * 64)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--n", "0"], "--n 0 is too few"),
        (["--methods", "gradcam,saliency"], "Unknown method 'saliency'"),
        (["--run", "/nowhere"], "No run at"),
        (["--split", "internal-x"], "Split 'internal-x'"),
    ],
    ids=["n", "method", "run", "split"],
)
def test_bad_arguments_end_with_one_line(
    changed: list[str],
    told: str,
    smoke_run: Path,
    toy_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is wrong is told at once, in one line."""
    arguments = ["--run", str(smoke_run), "--data", str(toy_data), "--n", "4", *changed]
    assert main(["faithfulness", *arguments, "--device", "cpu", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_choice_is_even_and_the_same_again(toy_data: Path, smoke_run: Path) -> None:
    """As many of each class; another seed chooses others."""
    from cxr.data.labels import PNEUMONIA
    from cxr.data.split import select_images

    listed = select_images(toy_data, "train", PNEUMONIA, None)
    chosen = choose_evenly(listed, 10, seed=0)
    assert [image.label for image in chosen] == ["NORMAL"] * 5 + ["PNEUMONIA"] * 5
    assert chosen == choose_evenly(list(reversed(listed)), 10, seed=0)
    assert chosen != choose_evenly(listed, 10, seed=1)
