"""What the results page is made from, as it is kept in ``docs/results/results.json``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from benchmarks.child import MeasureError
from benchmarks.results.generated import Generated
from cxr.bundles.manifest import TaskSection
from cxr.bundles.methods import Method
from cxr.bundles.run import EpochRecord
from cxr.explain.evidence import Dependence, LungShare, Pointing
from cxr.metrics.estimate import Estimate
from cxr.section import Section, first_complaint
from cxr.verdict.populations import Population


class Cost(Section):
    """What a network costs."""

    parameters: int
    macs: int
    """Multiplications with addition of one pass over one image; a mirrored pass doubles them."""
    onnx_bytes: int
    latency_ms: float
    """Median of one image in ONNX Runtime, float32, one thread, a mirrored pass included."""


class HeatmapFigures(Section):
    """What a run's heatmaps are worth, and what its answers depend on."""

    images: int
    passing: tuple[Method, ...]
    lung_share: dict[Method, LungShare]
    pointing: dict[Method, Pointing]
    dependence: dict[str, Dependence]


class Trained(Section):
    """One run: what was trained, how long, how good it is and what it costs."""

    name: str
    version: str
    architecture: str
    task: TaskSection
    recipe: str
    seed: int
    init: str
    code_revision: str
    size_px: int
    mirror: bool
    curves: tuple[EpochRecord, ...]
    operating_point: str
    part: str
    """Part of the split by patient, or the folder, the figures are of."""
    images: int
    figures: dict[str, Estimate]
    cost: Cost
    populations: tuple[Population, ...] = ()
    learnt: dict[str, int] = Field({}, description="Images learnt from, by source.")
    teachers: tuple[str, ...] = ()
    heatmaps: HeatmapFigures | None = None

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sources that were measured and not learnt from."""
        sources = [source.name for one in self.populations for source in one.sources]
        return tuple(name for name in sources if self.learnt and name not in self.learnt)

    @property
    def seconds(self) -> float:
        """Training time by the clock."""
        return sum(record.seconds for record in self.curves)


class Experiment(Section):
    """A comparison that is not one run: its own table."""

    name: str
    markdown: str


class Results(Section):
    """The whole document."""

    machine: str
    commit: str
    at: str
    runs: tuple[Trained, ...]
    smoke_only: tuple[str, ...]
    """Recipes without a run here: the tests train them for a step or two, no more."""
    generated: Generated | None
    """An AC-GAN; None if none is shown."""
    experiments: tuple[Experiment, ...]
    heatmaps: str | None
    """What the drawing of mean heatmaps is of; None if there is none."""


def open_results(path: Path) -> Results:
    """Read the document.

    Raises:
        MeasureError: It is not valid.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise MeasureError(f"{path} is not valid at {first_complaint(error)}.") from None
