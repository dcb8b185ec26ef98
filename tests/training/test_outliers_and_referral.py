"""Made-up outliers, and the fit of prediction sets."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.data.labels import PNEUMONIA
from cxr.errors import DataError
from cxr.images.decoding import Preprocessing, to_model_input
from cxr.verdict.operating_point import OperatingPoint
from export.phantom import draw_phantom
from training.reliability.outliers import FAMILIES, make_outliers
from training.reliability.referral_fit import Judged, fit_least_probabilities, fit_referral

SPEC = Preprocessing(size_px=112, min_side_px=32)
RADIOGRAPHS = np.stack([to_model_input(draw_phantom(i), SPEC) for i in range(4)])


@pytest.mark.parametrize("family", FAMILIES)
def test_outliers_are_pictures_and_the_same_for_the_same_seed(family: str) -> None:
    """Every family draws its own pictures, none of them one of the radiographs."""
    made = make_outliers(family, RADIOGRAPHS, 6, seed=3)
    assert made.shape == (6, 1, 112, 112)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, make_outliers(family, RADIOGRAPHS, 6, seed=3))
    assert (made != make_outliers(family, RADIOGRAPHS, 6, seed=4)).any()
    for image in made:
        assert all((image != radiograph).any() for radiograph in RADIOGRAPHS)


def two_columns(positive: np.ndarray) -> np.ndarray:
    return np.stack([1.0 - positive, positive], axis=1)


def test_prediction_sets_cover_each_class_by_itself() -> None:
    """Over many draws the share of new images covered is what was asked for, rare class too."""
    rng = np.random.default_rng(0)
    covered = {0: [], 1: []}
    for _ in range(300):
        labels = np.repeat([0, 1], [60, 300])
        given = two_columns(rng.beta(np.where(labels == 1, 4, 1), np.where(labels == 1, 1, 3)))
        least = fit_least_probabilities(given, labels, 0.9, PNEUMONIA)
        for label, name in enumerate(PNEUMONIA.classes):
            fresh = rng.beta(4 if label else 1, 1 if label else 3, 200)
            covered[label].append((two_columns(fresh)[:, label] >= least[name]).mean())
    assert 0.89 < np.mean(covered[0]) < 0.93
    assert 0.89 < np.mean(covered[1]) < 0.92


def test_class_with_too_few_images_is_never_ruled_out() -> None:
    """Nine images cannot promise 95 %; none at all is an error."""
    labels = np.repeat([0, 1], [9, 200])
    given = two_columns(np.linspace(0.01, 0.99, 209))
    least = fit_least_probabilities(given, labels, 0.95, PNEUMONIA)
    assert least["NORMAL"] == 0.0
    assert least["PNEUMONIA"] > 0.0
    with pytest.raises(DataError, match="NORMAL"):
        fit_least_probabilities(given, np.ones(209, dtype=np.int64), 0.95, PNEUMONIA)


def test_more_coverage_refers_more_and_errs_less() -> None:
    """The table on the model card: what abstaining buys."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [800, 800])
    given = two_columns(rng.beta(np.where(labels == 1, 3, 2), np.where(labels == 1, 2, 3)))
    point = OperatingPoint(name="p", threshold=0.5, sensitivity=1, specificity=1)
    val, test = slice(None, None, 2), slice(1, None, 2)
    patients = np.array([str(i) for i in range(800)])

    def judged(part: slice) -> Judged:
        return Judged(given[part], labels[part], patients, np.full(800, "everybody"))

    referral = fit_referral(judged(val), judged(test), 0.9, point, PNEUMONIA)
    targets = [figure.target for figure in referral.figures]
    assert targets == [0.90, 0.95, 0.98, 0.99]
    for figure in referral.figures:
        assert figure.coverage.value == pytest.approx(figure.target, abs=0.03)
    referred = [figure.referred.value for figure in referral.figures]
    accuracy = [figure.accuracy.value for figure in referral.figures]
    assert referred == sorted(referred)
    assert accuracy[0] < accuracy[-1]
    assert referral.coverage == 0.9
