"""Recipe and job of an AC-GAN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from cxr.data.dataset import DataSets
from cxr.section import Section
from training.device import Compute
from training.experiments.gan.generator import widths
from training.recipe import Augmentation, SplitSpec, read_recipe

GAN_RECIPES_DIR = Path(__file__).parent / "recipes"


class Judging(Section):
    """How often and on how much the generator is evaluated."""

    every: int = Field(4, ge=1, description="Epochs between two measurements of KID.")
    images: int = Field(128, ge=4, description="Generated images of each class.")
    final_images: int = Field(256, ge=4, description="Likewise, after the last epoch.")
    subsets: int = Field(50, ge=2)
    subset_size: int = Field(100, ge=2)


class GanRecipe(Section):
    """The whole recipe."""

    name: str
    version: str
    task: str
    seed: int = Field(0, ge=0)
    size_px: int = Field(128, ge=8, description="Side of the images: 4 times a power of two.")
    min_side_px: int = Field(64, ge=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    latent: int = Field(96, ge=1, description="Numbers of noise.")
    width: int = Field(32, ge=4, description="Channels of the outermost stage.")
    generator_rate: float = Field(2e-4, gt=0)
    discriminator_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = Field((0.0, 0.99), description="Of Adam, in both networks.")
    weight_average: float = Field(0.998, ge=0, lt=1, description="Decay of the generator's mean.")
    auxiliary_real: float = Field(1.0, ge=0, description="Weight of the classes of real images.")
    auxiliary_generated: float = Field(
        0.3, ge=0, description="Weight of the classes of generated images."
    )
    augmented: float = Field(
        0.5, ge=0, le=1, description="Share of the images the discriminator sees changed."
    )
    notes: tuple[str, ...] = ()
    split: SplitSpec = SplitSpec()
    augmentation: Augmentation = Augmentation()
    judging: Judging = Judging()

    @field_validator("size_px")
    @classmethod
    def _is_a_power(cls, size_px: int) -> int:
        widths(size_px, 1)
        return size_px


def load_gan_recipe(name_or_path: str) -> GanRecipe:
    """Load a packaged recipe by name, or any TOML file by path.

    RunError if absent or invalid; the message names the field.
    """
    return read_recipe(name_or_path, GAN_RECIPES_DIR, GanRecipe)


@dataclass(frozen=True)
class GanJob:
    """What a training needs beside its recipe; without ``split_file`` it makes a new split."""

    recipe: GanRecipe
    data: DataSets
    out: Path
    compute: Compute
    features: Path
    split_file: Path | None = None
    quiet: bool = False

    @property
    def work_dir(self) -> Path:
        """Folder of checkpoint and previews of an incomplete training."""
        return self.out.with_name(f".{self.out.name}.training")
