"""What a training of the AC-GAN needs to know beside its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.data.dataset import DataSets
from training.device import Compute
from training.experiments.gan.recipe import GanRecipe


@dataclass(frozen=True)
class GanJob:
    """What a training needs to know beside the recipe.

    Attributes:
        recipe: How to train.
        data: The data set's folder, or several.
        out: The directory to make.
        compute: Device and precision.
        features: Run whose embedding the images are compared in.
        split_file: A split made before, of the same data; None divides the patients anew.
        quiet: Show no progress bars.
    """

    recipe: GanRecipe
    data: DataSets
    out: Path
    compute: Compute
    features: Path
    split_file: Path | None = None
    quiet: bool = False

    @property
    def work_dir(self) -> Path:
        """Where checkpoint and previews lie until the training is complete."""
        return self.out.with_name(f".{self.out.name}.training")
