"""What the results page shows of an AC-GAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results.generated import generated_markdown, show_generator
from training.experiments.gan.record import open_gan
from training.experiments.gan.sampling import GAP_PX, PREVIEW_COLUMNS


def test_figures_are_its_own_and_drawings_repeat(tiny_gan: Path, tmp_path: Path) -> None:
    """Every class has its line and its row of images; the same bytes each time."""
    run = open_gan(tiny_gan)
    found = show_generator(tiny_gan, tmp_path)
    contents = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert show_generator(tiny_gan, tmp_path) == found
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == contents
    text = generated_markdown(found)
    for name in run.task.classes:
        kid = run.worth.kid[name]
        assert f"| {name.lower()} | {kid.value:.4f} ± {kid.standard_error:.4f} |" in text
    assert f"{found.epochs} epochs" in text
    assert found.auxiliary_real == run.curves[-1].auxiliary_real
    sheet = np.asarray(Image.open(tmp_path / "gan.png"))
    step = run.preprocessing.size_px + GAP_PX
    assert sheet.shape == (len(run.task.classes) * step - GAP_PX, PREVIEW_COLUMNS * step - GAP_PX)
