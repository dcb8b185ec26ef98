"""The results of ``python -m benchmarks fleet`` and ``rolling`` as tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fleet import BURST_FACTOR, BURST_FROM_S, BURST_TO_S, DEVICE, TARGETS_MS
from benchmarks.load import CLOSED
from benchmarks.table import machine_line, markdown, number

KINDS = {"least": "fewest under way", "random": "at random"}


def render_fleet(found: dict[str, Any]) -> str:
    """Give the tables of the simulation and of its check."""
    simulated, measured = found["simulated"], found["measured"]
    return "\n\n".join(
        (
            machine_line(found["machine"]),
            f"Model `{found['model']}`, files: {found['files']}. One replica on one core, alone: "
            f"{number(simulated['mean_ms'])} ms for each of {len(measured['service_ms'])} images, "
            f"so at most {number(simulated['capacity_per_s'])} images/s; ready "
            f"{number(measured['start_s'])} s after its start.",
            "### Simulation and measurement",
            _checks(found["checks"]),
            errors_line(found["checks"]),
            "### Replicas needed",
            _needed(simulated["needed"]),
            "![Replicas needed](scaling/needed.svg)",
            "### The bound of the wait",
            _bounds(simulated["bounds"]),
            "### The batch window",
            f"An assumed device: {DEVICE.fixed_s * 1000:g} ms a run and {DEVICE.image_s * 1000:g} "
            f"ms an image, at most {DEVICE.max_batch} of a run. Not measured.",
            _windows(simulated["windows"]),
            "![Batch window](scaling/window.svg)",
            "### A burst, and the autoscaler's lag",
            _bursts(simulated["bursts"]),
            "![Burst](scaling/burst.svg)",
        )
    )


def error_of(one: dict[str, Any], figure: str) -> float:
    """Give how far the simulation is from the measurement, as a share of the latter."""
    measured = float(one["measured"][figure])
    return (float(one["simulated"][figure]) - measured) / measured


def errors_line(checks: Sequence[dict[str, Any]]) -> str:
    """Give the largest errors in a sentence."""
    parts = []
    for figure, name in (("per_s", "rate"), ("p50_ms", "p50"), ("p99_ms", "p99")):
        worst = max((error_of(one, figure) for one in checks), key=abs)
        parts.append(f"{name} {worst:+.0%}")
    return f"Largest errors of the simulation: {', '.join(parts)}."


def _checks(checks: Sequence[dict[str, Any]]) -> str:
    rows = []
    for one in checks:
        measured, simulated = one["measured"], one["simulated"]
        is_closed = measured["mode"] == CLOSED
        load = f"{measured['amount']:.0f} clients" if is_closed else f"{measured['amount']:.1f}/s"
        row = [str(measured["replicas"]), load]
        for figure in ("per_s", "p50_ms", "p99_ms"):
            row += [number(measured[figure]), number(simulated[figure])]
            row.append(f"{error_of(one, figure):+.0%}")
        row += [f"{measured['refused_share']:.1%}", f"{simulated['refused_share']:.1%}"]
        rows.append([*row, number(measured["generator_cores"])])
    header = ["replicas", "load", "images/s", "simulated", "error", "p50 ms", "simulated", "error"]
    header += ["p99 ms", "simulated", "error", "refused", "simulated", "generator cores"]
    return markdown(header, rows)


def _needed(rows: Sequence[dict[str, Any]]) -> str:
    header = ["images/s"]
    header += [f"p99 {ms} ms, {name}" for ms in TARGETS_MS for name in KINDS.values()]
    lines = []
    for rate in dict.fromkeys(row["per_s"] for row in rows):
        line = [f"{rate:,}"]
        for ms in TARGETS_MS:
            [row] = [one for one in rows if one["per_s"] == rate and one["p99_ms"] == ms]
            line += ["never" if row[kind] is None else str(row[kind]) for kind in KINDS]
        lines.append(line)
    return markdown(header, lines)


def _bounds(rows: Sequence[dict[str, Any]]) -> str:
    header = ["`CXR_MAX_WAIT_MS`", "load of four replicas", "images/s", "p50 ms", "p99 ms"]
    lines = [
        [f"{row['max_wait_ms']:g}", f"{row['load']:.0%}"]
        + [number(row[figure]) for figure in ("per_s", "p50_ms", "p99_ms")]
        + [f"{row['refused_share']:.1%}"]
        for row in rows
    ]
    return markdown([*header, "refused"], lines)


def _windows(rows: Sequence[dict[str, Any]]) -> str:
    header = ["load", "window ms", "images per run", "p50 ms", "p99 ms"]
    lines = [
        [f"{row['load']:.0%}", f"{row['window_ms']:g}"]
        + [number(row[figure]) for figure in ("images_per_run", "p50_ms", "p99_ms")]
        for row in rows
    ]
    return markdown(header, lines)


def _bursts(rows: Sequence[dict[str, Any]]) -> str:
    header = ["start of a replica s", "refused of all", "refusals end after s", "most replicas"]
    lines = [
        [
            f"{row['start_s']:g}",
            f"{row['refused_share']:.1%}",
            f"{row['refused_until_s']:.0f}",
            str(row["most_replicas"]),
        ]
        for row in rows
    ]
    return markdown(header, lines)


def render_rolling(found: dict[str, Any]) -> str:
    """Give the table of what change and kills cost."""
    lines = []
    for name, part in found["parts"].items():
        done = part.get("replaced") or part.get("removed") or part.get("kills")
        counts = [f"{part[one]:,}" for one in ("requests", "ok", "full", "lost")]
        lines.append([name, str(done), *counts, number(part["p99_ms"])])
    header = ["what", "replicas", "requests", "200", "429", "lost", "p99 ms"]
    chosen = found["plan"]
    return "\n\n".join(
        (
            machine_line(found["machine"]),
            f"{chosen['replicas']} replicas of `{found['model']}` with one worker each, "
            f"{chosen['clients']} clients; preStop {chosen['pre_stop_s']:g} s, endpoints gone "
            f"after {chosen['propagation_s']:g} s.",
            markdown(header, lines),
        )
    )


def draw_plots(found: dict[str, Any], folder: Path) -> None:
    """Write the plots as SVG, the same bytes for the same results."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "cxr", "font.size": 9, "axes.grid": True})
    folder.mkdir(parents=True, exist_ok=True)
    simulated = found["simulated"]
    _draw_needed(simulated["needed"], folder / "needed.svg")
    _draw_windows(simulated["windows"], folder / "window.svg")
    _draw_bursts(simulated["bursts"], folder / "burst.svg")


def _draw_needed(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6))
    for ms in TARGETS_MS:
        for kind, name in KINDS.items():
            shown = [row for row in rows if row["p99_ms"] == ms and row[kind] is not None]
            rates, counts = [row["per_s"] for row in shown], [row[kind] for row in shown]
            axes.loglog(rates, counts, marker="o", markersize=3, label=f"p99 {ms} ms, {name}")
    axes.set_xlabel("images per second")
    axes.set_ylabel("replicas of one core")
    axes.legend()
    _save(figure, path)


def _draw_windows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2))
    for load in dict.fromkeys(row["load"] for row in rows):
        shown = [row for row in rows if row["load"] == load]
        windows = [row["window_ms"] for row in shown]
        axes.plot(windows, [row["p99_ms"] for row in shown], marker="o", label=f"load {load:.0%}")
    axes.set_xlabel("batch window, ms")
    axes.set_ylabel("p99, ms")
    axes.legend()
    _save(figure, path)


def _draw_bursts(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6, 5), sharex=True)
    for row in rows:
        name = f"a replica starts in {row['start_s']:g} s"
        moments = [at_s for at_s, _ in row["replicas"]]
        upper.step(moments, [count for _, count in row["replicas"]], where="post", label=name)
        seconds = sorted(set(row["refused_at_s"]))
        lower.plot(seconds, [row["refused_at_s"].count(one) for one in seconds], label=name)
    for axes in (upper, lower):
        axes.axvspan(BURST_FROM_S, BURST_TO_S, alpha=0.1)
        axes.legend()
    upper.set_ylabel("replicas")
    lower.set_ylabel("refused per second")
    lower.set_xlabel(f"seconds; {BURST_FACTOR:g} times the load where shaded")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # Its lines end in blanks, which no other file of the repository does.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
