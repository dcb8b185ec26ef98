"""Whether answers still look like those of the validation, from numbers to exit status."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cxr.bundles.reference import BIN_EDGES, BINS, Reference, bin_of, count_bins
from cxr.verdict.operating_point import Decision
from service.__main__ import main
from service.answers import ResultDigest
from service.commands import drift as command
from service.telemetry.drift import (
    DriftWatch,
    DriftWindow,
    chance_limit,
    images_needed,
    join_bins,
    population_stability,
    read_psi,
)
from service.telemetry.drift_sources import difference, parse_since, tally_log, tally_metrics
from service.telemetry.prometheus import Metrics
from service.telemetry.timeline import Timeline
from tests.service.harness import Running
from tests.service.make_bundle import REFERENCE
from tests.service.make_images import make_png
from tests.service.test_telemetry import lines, log

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.anyio

Counts = Sequence[int]


def sample(images: int, seed: int, shift: int = 0) -> list[int]:
    """Draw counts of the reference's population, by ``shift`` bins further up."""
    shares = np.roll(np.array(REFERENCE.counts) / REFERENCE.images, shift)
    return [int(n) for n in np.random.default_rng(seed).multinomial(images, shares)]


def test_index_is_as_computed_by_hand() -> None:
    """(0.3 - 0.5) ln(0.3 / 0.5) + (0.7 - 0.5) ln(0.7 / 0.5), and equal shares give none."""
    by_hand = (0.3 - 0.5) * math.log(0.3 / 0.5) + (0.7 - 0.5) * math.log(0.7 / 0.5)
    found = population_stability([50_000, 50_000], [3000, 7000], (0, 1, 2))
    assert found == pytest.approx(by_hand, abs=1e-3)
    assert population_stability([500, 500], [50, 50]) == pytest.approx(0, abs=1e-9)
    assert math.isfinite(population_stability([500, 500], [100, 0]))


@pytest.mark.parametrize(
    ("psi", "reading"),
    [
        (0.0, "stable"),
        (0.0999, "stable"),
        (0.1, "moderate"),
        (0.2499, "moderate"),
        (0.25, "shifted"),
    ],
)
def test_usual_reading(psi: float, reading: str) -> None:
    """As everybody reads it."""
    assert read_psi(psi) == reading


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        ((100, 100), (0, 1, 2)),
        ((96, 1, 1, 1, 1), (0, 5)),
        ((1, 50, 0, 49), (0, 2, 4)),
        ((60, 1, 39, 1), (0, 1, 4)),
    ],
)
def test_bins_that_are_almost_empty_are_joined(counts: Counts, bounds: Counts) -> None:
    """Each keeps a twentieth of the reference, and none is lost."""
    assert join_bins(counts) == bounds


def test_chance_stays_below_its_limit_19_times_in_20() -> None:
    """Over 2,000 draws of both, reference and answers."""
    bounds = join_bins(REFERENCE.counts)
    limit = chance_limit(500, 400, len(bounds) - 1)
    over = sum(
        population_stability(sample(400, 2 * i), sample(500, 2 * i + 1), bounds) > limit
        for i in range(2000)
    )
    assert 0.03 < over / 2000 < 0.07


def test_images_needed_are_just_enough() -> None:
    """One fewer, and chance alone may reach the limit."""
    needed = images_needed(0.1, 400, 10)
    assert needed is not None
    assert chance_limit(needed, 400, 10) <= 0.1 < chance_limit(needed - 1, 400, 10)
    assert images_needed(0.1, 100, 10) is None


def record_answer(metrics: Metrics, probability: float) -> None:
    """Record a request for one image."""
    timeline = Timeline()
    timeline.model = ("resnet18", "0" * 64)
    [image] = timeline.add_images(1)
    image.result = ResultDigest("refer", probability, None)
    metrics.request_ended("/v1/predict", 200, timeline, str)


def test_bins_are_those_of_the_histogram() -> None:
    """A probability on an edge lies below it, as Prometheus counts."""
    metrics = Metrics()
    probabilities = [0.0, *BIN_EDGES, 0.015, 0.995]
    for probability in probabilities:
        record_answer(metrics, probability)
    told = tally_metrics(metrics.render().decode())["resnet18"]
    assert told.bins == list(count_bins(probabilities))
    assert (bin_of(0.01), bin_of(0.0101), bin_of(1.0)) == (0, 1, BINS - 1)


def test_reference_must_add_up() -> None:
    """A changed histogram is refused."""
    for changes in ({"images": 401}, {"out_of_scope": 401}, {"edges": (0.5, 1.0)}):
        with pytest.raises(ValidationError, match=r"the bins|add up"):
            Reference.model_validate(REFERENCE.model_dump() | changes)


DECISIONS: tuple[Decision, ...] = ("refer", "positive", "refer", "negative", "negative")


def fill(watch: DriftWatch, bins: Counts, reference: Reference | None = REFERENCE) -> None:
    """Answer images in these bins."""
    window = watch.windows.get("resnet18") or watch.begin("resnet18", "digest", reference)
    for number, count in enumerate(bins):
        window.latest.extend([(BIN_EDGES[number], "positive", True)] * count)


def test_gauge_tells_a_shift_and_forgets_it() -> None:
    """Nothing below 200 images; then stable, shifted, and stable again as the window slides."""
    metrics = Metrics()
    fill(metrics.drift, sample(199, 0))
    assert b"cxr_drift_psi{" not in metrics.render()
    assert b'cxr_drift_images{model="resnet18"} 199.0' in metrics.render()
    fill(metrics.drift, sample(801, 1))
    [drift] = metrics.drift.read()
    assert drift.psi is not None
    assert drift.psi < 0.1
    assert f'cxr_drift_psi{{model="resnet18"}} {drift.psi}'.encode() in metrics.render()
    fill(metrics.drift, sample(1000, 2, shift=4))
    [drift] = metrics.drift.read()
    assert drift.psi is not None
    assert drift.psi > 0.25
    fill(metrics.drift, sample(1000, 3))
    [drift] = metrics.drift.read()
    assert drift.psi is not None
    assert (drift.psi < 0.1, drift.images) == (True, 1000)


def test_another_bundle_begins_anew_and_none_has_no_index() -> None:
    """Answers of two versions are not mixed; without a reference shares are told alone."""
    watch = DriftWatch(images=10, least_images=2)
    fill(watch, sample(10, 0))
    watch.begin("resnet18", "other", REFERENCE).latest.append((0.5, "refer", False))
    [drift] = watch.read()
    assert (drift.images, drift.psi, drift.shares) == (1, None, None)
    window = DriftWindow("", None, 10, 0)
    assert window.read("x").psi is None
    watch = DriftWatch(images=4, least_images=2)
    window = watch.begin("m", "", None)
    for decision in DECISIONS:
        window.latest.append((0.5, decision, decision != "refer"))
    assert watch.read()[0].shares == {
        "positive": 0.25, "negative": 0.5, "refer": 0.25, "out-of-scope": 0.25,
    }  # fmt: skip


async def test_log_and_metrics_tell_the_same(service: Running, log: io.StringIO) -> None:
    """What a running service answered, counted from either."""
    files = [("files", ("a", make_png(grey))) for grey in (230, 20, 136, 120, 128)]
    assert (await service.client.post("/v1/predict", files=files)).status_code == 200
    assert (await service.client.post("/v1/predict", content=make_png(200))).status_code == 200
    page = (await service.client.get("/metrics")).text
    [by_metrics] = tally_metrics(page).values()
    [(key, by_log)] = tally_log(log.getvalue().splitlines()).items()
    assert key == ("resnet18", "1.0.0")
    assert (by_log.version, by_log.bins) == (by_metrics.version, by_metrics.bins)
    assert +by_log.decisions == +by_metrics.decisions
    assert by_log.images == 6
    [first, second] = [line for line in lines(log) if line["event"] == "request"][:2]
    assert first["probability_bins"] == sorted(first["probability_bins"])
    assert sum(first["decisions"].values()) == 5
    assert second["probability_bins"] == [bin_of(0.99)]
    assert 'cxr_drift_images{model="resnet18"} 6.0' in page


def line_of(bins: Counts, time: str = "2024-05-01T00:00:00+00:00", **changes: object) -> str:
    """Make the canonical log line of a request with these answers."""
    each = [number for number, count in enumerate(bins) for _ in range(count)]
    line = {
        "time": time,
        "event": "request",
        "model": "resnet18",
        "model_version": "1.0.0",
        "probability_bins": each,
        "decisions": {"positive": len(each) // 2, "negative": len(each) - len(each) // 2},
        "out_of_scope": 0,
    }
    return json.dumps(line | changes)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the command and give its exit status and what it said."""
    status = main(["drift", *arguments])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize(
    ("bins", "status", "word"),
    [
        (sample(2000, 5), 0, "stable"),
        (sample(1000, 5, shift=4), 4, "shifted"),
        (sample(60, 5), 5, "too few"),
        (
            [a + b for a, b in zip(sample(1400, 5), sample(600, 6, shift=8), strict=True)],
            3,
            "moderate",
        ),
    ],
    ids=["stable", "shifted", "too few", "moderate"],
)
def test_command_reads_a_log(
    bins: Counts,
    status: int,
    word: str,
    bundles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its exit status tells, and its words say on how many images."""
    (tmp_path / "log").write_text(line_of(bins) + "\nno line of ours\n{cut off")
    found, said = run(capsys, "--log", str(tmp_path / "log"), "--bundles", str(bundles))
    assert (found, word in said, f"({sum(bins)} images;" in said) == (status, True, True), said
    assert "change" in said
    assert "points" in said


def test_command_reads_from_a_moment_on(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older lines are another matter, whatever a container runtime puts before them."""
    old = line_of(sample(2000, 1, shift=4), "2024-04-30T23:59:59+00:00")
    (tmp_path / "log").write_text(f"app-1  | {old}\napp-2  | {line_of(sample(2000, 5))}\n")
    options = ["--log", str(tmp_path / "log"), "--bundles", str(bundles)]
    assert run(capsys, *options)[0] != 0
    status, said = run(capsys, *options, "--since", "2024-05-01T00:00:00Z")
    assert (status, "2000 images" in said) == (0, True)
    assert run(capsys, *options, "--since", "7d")[0] == 5
    assert run(capsys, *options, "--since", "Jane")[0] == 1
    assert run(capsys, *options, "--model", "cnn")[0] == 5


def test_command_reads_pages_of_replicas(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their counts are added; one bundle's version is not compared with another's."""
    info = 'cxr_bundle_info{model="resnet18",version="%s",sha256=""} 1.0\n'
    for number in (1, 2):
        metrics = Metrics()
        for at, count in enumerate(sample(1000, number)):
            for _ in range(count):
                record_answer(metrics, BIN_EDGES[at])
        page = info % "1.0.0" + metrics.render().decode()
        (tmp_path / f"page{number}").write_text(page)
    pages = [str(tmp_path / f"page{number}") for number in (1, 2)]
    status, said = run(capsys, "--metrics", *pages, "--bundles", str(bundles))
    assert (status, "(2000 images;" in said) == (0, True), said
    (tmp_path / "page1").write_text((tmp_path / "page1").read_text().replace("1.0.0", "9.9.9"))
    status, said = run(capsys, "--metrics", pages[0], "--bundles", str(bundles))
    assert (status, "not among the bundles" in said) == (5, True)
    assert run(capsys, "--metrics", pages[0], "--since", "1h", "--bundles", str(bundles))[0] == 1
    assert run(capsys, "--metrics", "http://127.0.0.1:9", "--bundles", str(bundles))[0] == 1
    assert run(capsys, "--metrics", pages[0], "--bundles", str(tmp_path / "none"))[0] == 1


def test_two_scrapes_tell_what_came_between(tmp_path: Path) -> None:
    """Also if the process was restarted meanwhile."""
    path, metrics = tmp_path / "page", Metrics()

    def answer(probability: float) -> None:
        record_answer(metrics, probability)
        path.write_bytes(metrics.render())

    answer(0.5)
    [(_, tally)] = command.collect([str(path)], lambda: answer(0.97)).items()
    assert (tally.images, tally.bins[bin_of(0.97)]) == (1, 1)
    before, after = (tally_metrics(path.read_text())["resnet18"] for _ in range(2))
    after.bins[bin_of(0.5)] = 0
    assert difference(after, before) == after


def test_moments() -> None:
    """Ages and ISO 8601; UTC unless another is given."""
    now = datetime(2024, 5, 2, tzinfo=UTC)
    assert parse_since("24h", now) == datetime(2024, 5, 1, tzinfo=UTC)
    assert parse_since("2024-05-01", now) == datetime(2024, 5, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="isoformat"):
        parse_since("yesterday", now)
