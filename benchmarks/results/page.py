"""The results document as a page of ``docs/``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.results.document import Results, Trained
from benchmarks.results.generated import generated_markdown
from benchmarks.results.published import OUTSIDE, PUBLISHED, Published
from benchmarks.table import markdown
from cxr.data.labels import ETIOLOGY, PNEUMONIA, TERNARY, Task
from cxr.metrics.classes import CLASS_ACCURACY, MACRO_AUROC, RECALL
from cxr.metrics.estimate import Estimate, format_estimate

INTRODUCTION = """# Results

Every network that was trained, on the same patients. Made by `python -m benchmarks results` from
run directories (`make docs` only puts the kept figures, [results.json](results/results.json),
into words); no figure is typed by hand.

Figures are of the internal test patients, a tenth of the data set's `train` and `val` folders
that was used for nothing else, with 95 % confidence intervals over patients, at the operating
point `balanced`. The official `test` folder is not part of what the project was built with:
figures on it are to be had with `python -m export evaluate --bundle DIR --data DIR`, and are
known to be lower, because its images differ in appearance. Published figures are of that folder,
so they stand beside ours and not against them."""

TITLES = {
    PNEUMONIA.name: "Normal or pneumonia",
    ETIOLOGY.name: "Viral or bacterial pneumonia",
    TERNARY.name: "Normal, bacterial, viral",
}

BINARY = ("accuracy", "auroc", "sensitivity", "specificity", "false_negatives", "f1", "ece")
HEADINGS = {
    "auroc": "AUROC",
    "ece": "ECE",
    "f1": "F1",
    "false_negatives": "false negatives",
    CLASS_ACCURACY: "accuracy of three classes",
    MACRO_AUROC: "macro AUROC",
}


def render_results(results: Results) -> str:
    """Give the page."""
    pieces = [INTRODUCTION, results.machine]
    for task in (PNEUMONIA, ETIOLOGY, TERNARY):
        pieces += _task(task, [run for run in results.runs if run.task.name == task.name])
    pieces += _populations(results.runs)
    pieces += _looks(results.runs)
    pieces += ["## What they cost", _costs(results.runs), COST_NOTES]
    if results.smoke_only:
        named = ", ".join(f"`{name}`" for name in results.smoke_only)
        pieces.append(
            "Only run as a smoke test (every recipe is trained for a step or two, exported, "
            f"served and explained by the tests), not trained: {named}."
        )
    pieces += ["## Training and validation curves", *_curves(results.runs)]
    if results.heatmaps is not None:
        pieces += ["## Where they look", HEATMAPS.format(of=results.heatmaps)]
    if results.generated is not None:
        pieces.append(generated_markdown(results.generated))
    pieces += [_as_section(experiment.markdown) for experiment in results.experiments]
    return "\n\n".join(piece.strip() for piece in pieces) + "\n"


def _as_section(page: str) -> str:
    """Make a page's title that of a section."""
    return f"#{page}" if page.startswith("# ") else page


def _task(task: Task, runs: Sequence[Trained]) -> Iterable[str]:
    yield f"## {TITLES[task.name]}"
    if runs:
        yield _figures(task, runs)
    published = [one for one in PUBLISHED if one.task == task]
    yield "Published, on the official test folder:"
    yield _published(published, {run.recipe for run in runs})


def _figures(task: Task, runs: Sequence[Trained]) -> str:
    keys: tuple[str, ...] = BINARY
    if len(task.classes) > 2:
        keys = (CLASS_ACCURACY, MACRO_AUROC, *(RECALL + name for name in task.classes), *BINARY)
    header = ["run", "images", *(_heading(key, task) for key in keys)]
    rows = [
        [f"`{run.name}`", str(run.images)]
        + [format_estimate(key, run.figures[key]) for key in keys]
        for run in runs
    ]
    return markdown(header, rows)


def _heading(key: str, task: Task) -> str:
    if key.startswith(RECALL):
        return f"recall {key.removeprefix(RECALL).lower()}"
    if len(task.classes) > 2 and key in BINARY:
        return f"{HEADINGS.get(key, key)} (pneumonia)"
    return HEADINGS.get(key, key)


def _published(published: Sequence[Published], trained: set[str]) -> str:
    rows = []
    for one in published:
        here = "-" if one.recipe is None else f"`{one.recipe}`"
        if one.recipe is not None and one.recipe not in trained:
            here += ", not trained"
        rows.append([one.what, one.figures, one.source, here])
    return markdown(["system", "figures", "source", "here"], rows)


def _populations(runs: Sequence[Trained]) -> Iterable[str]:
    """Tables by population and source, and of sources that were left out."""
    known = [run for run in runs if run.populations and not run.left_out]
    if known:
        header = ("run", "population", "images", "validated", "AUROC", "ECE", "accuracy")
        yield "## By population and source"
        yield BY_POPULATION
        yield markdown(
            [*header, "sensitivity", "specificity", "referred"],
            [
                [
                    *(f"`{run.name}`", one.name, str(one.images), "yes" if one.validated else "no"),
                    *(format_estimate("auroc", one.auroc), format_estimate("ece", one.ece)),
                    format_estimate("accuracy", point.accuracy),
                    format_estimate("sensitivity", point.sensitivity),
                    format_estimate("specificity", point.specificity),
                    format_estimate("referred", point.referred),
                ]
                for run in known
                for one in run.populations
                for point in [one.operating_points[run.operating_point]]
            ],
        )
        yield _sources(run for run in known if any(len(p.sources) > 1 for p in run.populations))
    if without := [run for run in runs if run.left_out]:
        yield "## A source left out"
        yield LEFT_OUT
        whole = {run.name.partition("-without-")[0] for run in without}
        yield _sources([*(run for run in known if run.name in whole), *without])
    yield "Published, of networks on radiographs of other patients than they learnt from:"
    yield markdown(
        ["system", "figures", "source"], [[one.what, one.figures, one.source] for one in OUTSIDE]
    )


def _sources(runs: Iterable[Trained]) -> str:
    header = ["run", "source", "learnt from", "measured on", "AUROC", "sensitivity", "specificity"]
    return markdown(
        header,
        [
            [
                f"`{run.name}`",
                source.name,
                str(run.learnt.get(source.name, 0)),
                str(source.images),
                format_estimate("auroc", source.auroc),
                format_estimate("sensitivity", source.sensitivity),
                format_estimate("specificity", source.specificity),
            ]
            for run in runs
            for one in run.populations
            for source in one.sources
        ],
    )


def _looks(runs: Sequence[Trained]) -> Iterable[str]:
    """Tables of what the answers depend on, and of heatmaps."""
    measured = [(run, run.heatmaps) for run in runs if run.heatmaps is not None]
    if not measured:
        return
    yield "## What the answers depend on"
    yield DEPENDS
    header = ["run", "population", "images", "AUROC", "median change without the outside"]
    yield markdown(
        [*header, "calls kept without it", "AUROC without lungs", "AUROC of borders"],
        [
            [
                *(f"`{run.name}`", name, str(one.images), format_estimate("auroc", one.auroc)),
                format_estimate("share", one.change_without_outside),
                format_estimate("share", one.kept_without_outside),
                format_estimate("auroc", one.auroc_without_lungs),
                format_estimate("auroc", one.auroc_of_borders),
            ]
            for run, found in measured
            for name, one in found.dependence.items()
        ],
    )
    header = ["run", "method", "offered", "heat in the lungs by area", "peaks outside the lungs"]
    yield markdown(
        [*header, "pointing game", "pointing game, called positive"],
        [
            [
                *(f"`{run.name}`", method, "yes" if method in found.passing else "no"),
                format_estimate("ratio", share.ratio),
                format_estimate("share", share.peaks_outside),
                *(
                    format_estimate("share", estimate)
                    for estimate in (
                        (found.pointing[method].hits, found.pointing[method].hits_called)
                        if method in found.pointing
                        else (Estimate(value=None, low=None, high=None),) * 2
                    )
                ),
            ]
            for run, found in measured
            for method, share in found.lung_share.items()
        ],
    )


BY_POPULATION = """On internal test patients of each, at `balanced`; *referred* is the share from
which the model abstains. A population is validated if the interval of its AUROC begins at 0.90 or
above ([decision 31](decisions/0031-populations.md)); pictures of nobody validated are referred."""

LEFT_OUT = """Short trainings of one recipe that learnt nothing from one source, measured on its
test images as on the others'."""

DEPENDS = """Everything outside the lungs is blanked, then the lungs, then all but the outer tenth
of the picture; what is blanked becomes black or the mean grey of the rest, and each figure is the
worse of the two. A method is offered if its maps change with the classifier's weights and delete
and insert better than random maps ([decision 32](decisions/0032-lungs-count.md))."""


def _costs(runs: Sequence[Trained]) -> str:
    header = ["run", "network", "start", "epochs", "training", "parameters", "MACs"]
    rows = []
    for run in runs:
        cost = run.cost
        rows.append(
            [
                f"`{run.name}`",
                f"{run.architecture}, {run.size_px} px" + (", mirrored" if run.mirror else ""),
                run.init.partition(" (")[0],
                str(len(run.curves)) if run.curves else "-",
                f"{run.seconds / 60:.0f} min" if run.curves else "-",
                f"{cost.parameters / 1e6:.2f} M",
                f"{cost.macs / 1e9:.2f} G",
                f"{cost.onnx_bytes / 1e6:.1f} MB",
                f"{cost.latency_ms:.0f} ms",
            ]
        )
    return markdown([*header, "ONNX file", "latency"], rows)


COST_NOTES = """MACs are of one pass over one image; a mirrored network makes two. Latency:
median of one image in ONNX Runtime, float32, one thread, all networks in turns. Training time is
by the clock, beside other work on the same two cores: it compares nothing but orders of
magnitude."""


def _curves(runs: Sequence[Trained]) -> Iterable[str]:
    for run in runs:
        if run.curves:
            yield f"![Training and validation curves of {run.name}](results/{run.name}.svg)"


HEATMAPS = """Mean Grad-CAM heatmaps over {of}: where, on average, each network finds its
evidence. Radiographs themselves are not part of this repository; `python -m training gradcam
--run DIR --data DIR --out sheet.png` draws a sheet of them.

![Mean heatmaps of each network](results/heatmaps.png)"""
