"""Turn a data set into figures and numbers."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cxr.files import new_directory, verify_replaceable
from training.explore.alike import NEAR, exact_groups, near_pairs
from training.explore.conclusions import conclude
from training.explore.facts import CLUES
from training.explore.figures import draw_all
from training.explore.findings import Exploration
from training.explore.listing import list_images, ordered_classes
from training.explore.reading import Collection, read_collection
from training.explore.shortcuts import measure_shortcuts
from training.explore.summary import (
    count_images,
    measure_grey_levels,
    measure_sizes,
    tell_near,
    tell_patients,
    tell_same,
)
from training.explore.typical import choose_examples, find_lookalikes, layouts_of
from training.report.page import json_text, render_page, write_figures

log = logging.getLogger(__name__)

EXPLORATION_NAME = "exploration.json"
PAGE_NAME = "exploration.html"
IMAGES_NAME = "images.csv"


def explore(
    sets: Sequence[Path], out: Path, workers: int, seed: int = 0, quiet: bool = False
) -> Exploration:
    """Measure data sets and write exploration.html, exploration.json, images.csv and figures.

    DataError if no image can be read; OutputError if the place is taken.
    """
    verify_replaceable(out, EXPLORATION_NAME)
    collection = read_collection(list_images(sets), workers, quiet)
    found = _examine(collection, [path.resolve().name for path in sets], seed)
    with new_directory(out, EXPLORATION_NAME) as directory:
        figures = write_figures(draw_all(found, collection), directory)
        (directory / PAGE_NAME).write_text(render(found, figures))
        (directory / EXPLORATION_NAME).write_text(json_text(found))
        _write_images(collection, directory / IMAGES_NAME)
    return found


def _examine(collection: Collection, data: Sequence[str], seed: int) -> Exploration:
    classes = ordered_classes(set(collection.labels))
    folders = list(dict.fromkeys(str(folder) for folder in collection.folders))
    log.info("%d images read; comparing them", len(collection.listed))
    layouts = layouts_of(collection.thumbnails)
    groups = exact_groups(collection.digests)
    pairs = near_pairs(collection.thumbnails, collection.digests)
    return Exploration(
        data=tuple(data),
        images=len(collection.listed),
        classes=tuple(classes),
        folders=tuple(folders),
        formats=dict(Counter(str(name) for name in collection.formats)),
        unreadable=collection.unreadable,
        counts=tuple(count_images(collection, folders, classes)),
        sizes=tuple(measure_sizes(collection, classes)),
        grey_levels=tuple(measure_grey_levels(collection, classes)),
        same_pixels=tuple(tell_same(collection, group) for group in groups),
        near=tuple(tell_near(collection, pair) for pair in pairs),
        near_threshold=NEAR,
        patients=tell_patients(collection),
        shortcuts=tuple(measure_shortcuts(collection, seed)),
        examples=tuple(choose_examples(collection, layouts, classes)),
        lookalikes=tuple(find_lookalikes(collection, layouts)),
    )


def render(found: Exploration, figures: dict[str, str]) -> str:
    """Render the page with figures as data URLs."""
    return render_page("exploration.html.j2", found=found, words=conclude(found), figures=figures)


def _write_images(collection: Collection, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "folder", "label", "etiology", "patient", "pixels", *CLUES))
        for i, one in enumerate(collection.listed):
            image = one.image
            facts = [f"{collection.clues[name][i]:.6g}" for name in CLUES]
            digest = collection.digests[i][:16]
            writer.writerow(
                (image.name, one.folder, image.label, one.etiology, image.patient, digest, *facts)
            )
