"""Read files and folders with a loaded model, without a server."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from cxr.data.dataset import IMAGE_SUFFIXES
from cxr.errors import ImageOutOfScopeError, InputError, UnreadableImageError
from cxr.images.decoding import SNIFF_BYTES, sniff_format
from cxr.pixels.image import ModelInput
from cxr.verdict.operating_point import OperatingPoint
from service.answers import ImageResult
from service.engines.buckets import bucket_sizes
from service.engines.machine import usable_cores
from service.engines.protocol import OutputRow
from service.errors import InferenceFailedError
from service.images.preparation import PreparedImage, prepare_image
from service.models.loading import LoadedModel
from service.models.predictor import build_result
from service.scheduling.lane import EngineRunner
from service.settings import Settings

COLUMNS = (
    "file",
    "status",
    "finding",
    "label",
    "decision",
    "probability",
    "operating_point",
    "in_scope",
    "population",
    "remarks",
)


@dataclass(frozen=True)
class ScoredFile:
    """A file with its result or error."""

    path: Path
    outcome: ImageResult | InputError | InferenceFailedError

    @property
    def is_ok(self) -> bool:
        """Whether there is a result."""
        return isinstance(self.outcome, ImageResult)

    def as_row(self) -> dict[str, str]:
        """Return the row of a table with ``COLUMNS``."""
        outcome = self.outcome
        if not isinstance(outcome, ImageResult):
            row = {"status": "error", "remarks": str(outcome)}
        else:
            row = {
                "status": "ok",
                "finding": outcome.finding,
                "label": outcome.label or "",
                "decision": outcome.decision,
                "probability": f"{outcome.probability:.4f}",
                "operating_point": outcome.operating_point.name,
                "in_scope": "yes" if outcome.scope.in_scope else "no",
                "population": outcome.population.name if outcome.population else "",
                "remarks": " ".join((*outcome.scope.reasons, *outcome.warnings)),
            }
        return {column: row.get(column, "") for column in COLUMNS} | {"file": str(self.path)}


def list_images(paths: Sequence[Path]) -> list[Path]:
    """List files; of folders, those that are or claim to be images.

    Raises:
        FileNotFoundError: A path does not exist.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = (p for p in sorted(path.rglob("*")) if p.is_file())
            files += [p for p in found if not p.name.startswith(".") and _is_image(p)]
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(path)
    return files


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return sniff_format(file.read(SNIFF_BYTES)) is not None
    except OSError:
        return False


def score_files(
    files: Sequence[Path], model: LoadedModel, point: OperatingPoint, settings: Settings
) -> Iterator[ScoredFile]:
    """Yield results in order; a group is decoded while another runs."""
    batches = [
        files[start : start + settings.max_batch]
        for start in range(0, len(files), settings.max_batch)
    ]
    threads = settings.workers or usable_cores()
    runs = model.engine.concurrency
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool,
        ThreadPoolExecutor(runs, thread_name_prefix="engine") as engine_pool,
    ):

        def decode(batch: Sequence[Path]) -> Iterator[PreparedImage | InputError]:
            return pool.map(lambda path: _prepare(path, model, settings), batch)

        coming = decode(batches[0]) if batches else iter(())
        for number, batch in enumerate(batches):
            prepared = list(coming)
            coming = decode(batches[number + 1]) if number + 1 < len(batches) else iter(())
            yield from _run_group(batch, prepared, model, point, engine_pool)


def _prepare(path: Path, model: LoadedModel, settings: Settings) -> PreparedImage | InputError:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return UnreadableImageError(f"The file cannot be read: {reason}.")
    try:
        return prepare_image(data, model.bundle.manifest.preprocessing, settings.max_image_pixels)
    except InputError as error:
        return error


def _run_group(
    paths: Sequence[Path],
    prepared: Sequence[PreparedImage | InputError],
    model: LoadedModel,
    point: OperatingPoint,
    pool: ThreadPoolExecutor,
) -> Iterator[ScoredFile]:
    inputs = [one.model_input for one in prepared if isinstance(one, PreparedImage)]
    size = model.engine.max_batch
    chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)]

    def run(chunk: Sequence[ModelInput]) -> Sequence[OutputRow | InferenceFailedError]:
        return EngineRunner(model.engine, bucket_sizes(size)).form(chunk)()

    rows = chain.from_iterable(pool.map(run, chunks))
    for path, image in zip(paths, prepared, strict=True):
        if not isinstance(image, PreparedImage):
            yield ScoredFile(path, image)
            continue
        row = next(rows)
        if isinstance(row, InferenceFailedError):
            yield ScoredFile(path, row)
            continue
        try:
            yield ScoredFile(path, build_result("0", image, row, model, point))
        except ImageOutOfScopeError as error:
            yield ScoredFile(path, error)


def verify_writable(path: Path) -> None:
    """Raise OSError if a file cannot be written, before hours of work. Changes nothing."""
    is_new = not path.exists()
    with path.open("a"):
        pass
    if is_new:
        path.unlink()


def write_csv(scored: Iterable[ScoredFile], path: Path) -> None:
    """Write one row per file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(one.as_row() for one in scored)


def render_table(scored: Iterable[ScoredFile]) -> str:
    """Render one line per file in aligned columns."""
    rows = [dict(zip(COLUMNS, COLUMNS, strict=True)), *(one.as_row() for one in scored)]
    shown = [c for c in COLUMNS if c not in ("finding", "operating_point", "in_scope")]
    widths = {column: max(len(row[column]) for row in rows) for column in shown}
    return "\n".join(
        "  ".join(row[column].ljust(widths[column]) for column in shown).rstrip() for row in rows
    )
