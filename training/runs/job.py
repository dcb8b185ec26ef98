"""The job of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.data.dataset import DataSets
from cxr.errors import RunError
from cxr.files import verify_replaceable
from training.device import Compute
from training.distributed import World
from training.recipe import Recipe

SEGMENTER = Path("models/lungs")
"""The one that ships."""


@dataclass(frozen=True)
class TrainingJob:
    """What a training needs beside its recipe.

    Attributes:
        split_file: Without one a new split is made.
        lungs: Folder of the lung segmenter, for a recipe with lung guidance.
        teachers: Runs whose answers are learnt, for a recipe with teachers.
        left_out: Sources that are not learnt from.
    """

    recipe: Recipe
    data: DataSets
    out: Path
    init: str
    compute: Compute
    world: World
    split_file: Path | None = None
    lungs: Path = SEGMENTER
    teachers: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    synthetic: Path | None = None
    quiet: bool = False

    @property
    def work_dir(self) -> Path:
        """Folder of the checkpoint until the run is complete."""
        return self.out.with_name(f".{self.out.name}.training")


def verify_new(out: Path, record: str) -> None:
    """Check before the long work that a directory can be written.

    RunError if it holds ``record``, hence is finished; OutputError if it is something else.
    """
    if (out / record).exists():
        raise RunError(f"{out} holds a finished run. Choose another --out, or delete it.")
    verify_replaceable(out, record)
