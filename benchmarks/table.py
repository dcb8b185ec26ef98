"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.bars import Verdict, judge, judge_starts
from benchmarks.neighbours import QUIET_CORES
from benchmarks.overload import AFTER_S

MARKS = {True: "met", False: "**missed**", None: ""}
NOT_MEASURED = "not measured"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, unit: str = "") -> str:
    """Give a figure with three digits that count."""
    if value is None:
        return NOT_MEASURED
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".rstrip()


def bars_table(verdicts: Iterable[Verdict]) -> str:
    """Give the figures beside their bars."""
    rows = []
    for verdict in verdicts:
        bar, bound = verdict.bar, verdict.bound
        held = "" if bound is None else f"{bar.sense} {number(bound, bar.unit)}"
        rows.append([bar.title, number(verdict.value, bar.unit), held, MARKS[verdict.is_met]])
    return markdown(["figure", "measured", "bar", ""], rows)


SERVER_COLUMNS = (
    "who",
    "images/s",
    "of the limit",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "CPU s per 1,000",
    "RSS MiB",
    "generator cores",
    "not answered",
)


def servers_table(model: dict[str, Any]) -> str:
    """Give who answered how many images at which cost: medians over the rounds."""
    limit = model.get("limit")
    rows = []
    if limit:
        taken = number(limit["per_s"]), "1.00", "", "", ""
        rest = number(limit["cpu_s_per_1000"]), number(limit["rss_mib"]), "", ""
        rows.append([f"limit ({limit['way']})", *taken, *rest])
    for name, one in model.get("servers", {}).items():
        rows.append(
            [
                name,
                *(number(one[key]) for key in ("per_s", "of_limit", "p50_ms", "p95_ms", "p99_ms")),
                *(number(one[key]) for key in ("cpu_s_per_1000", "rss_mib", "generator_cores")),
                str(one["unanswered"]),
            ]
        )
    return markdown(SERVER_COLUMNS, rows)


OVERLOAD_COLUMNS = (
    "who",
    "offered/s",
    "good/s",
    "good in 1 s",
    "p99 of good ms",
    "refused",
    "p99 of refusals ms",
    "timed out",
    "dropped",
    "recovery s",
    "generator cores",
)


def overload_table(overloads: dict[str, dict[str, Any]]) -> str:
    """Give what became of three times as many requests as can be answered."""
    rows = []
    for name, one in overloads.items():
        summary = one["summary"]
        rows.append(
            [
                name,
                number(one["offered_per_s"]),
                number(one["good_per_s"]),
                f"{100 * one['good_share']:.0f} %",
                number(summary["p99_ms"]),
                str(summary["refused"]),
                number(summary["refused_p99_ms"]) if summary["refused"] else "",
                str(summary["timed_out"]),
                str(summary["dropped"]),
                recovery_words(one["recovery_s"]),
                number(one["generator_cores"]),
            ]
        )
    return markdown(OVERLOAD_COLUMNS, rows)


def recovery_words(recovery_s: float | None) -> str:
    """Say how long a server took to recover; earlier results have None where it did not."""
    if recovery_s is None or recovery_s >= AFTER_S:
        return f"not in {AFTER_S:.0f} s"
    return number(recovery_s)


PROCESS_COLUMNS = (
    "processes",
    "cores each",
    "images/s",
    "p99 ms",
    "CPU s per 1,000",
    "RSS MiB",
    "PSS MiB",
)


def processes_table(processes: Iterable[dict[str, Any]]) -> str:
    """Give what one process and several do with the same cores and clients."""
    keys = ("per_s", "p99_ms", "cpu_s_per_1000", "rss_mib", "pss_mib")
    rows = [
        [str(one["processes"]), str(one["workers"]), *(number(one[key]) for key in keys)]
        for one in processes
    ]
    return markdown(PROCESS_COLUMNS, rows)


MESSAGE_COLUMNS = (
    "bytes handed over",
    "socket pair, µs",
    "CPU µs",
    "shared memory, µs",
    "CPU µs",
)


def messages_table(messages: Iterable[dict[str, Any]]) -> str:
    """Give what it costs to hand bytes to a worker and get 2 kB back, both ways."""
    keys = ("socket_us", "socket_cpu_us", "shared_us", "shared_cpu_us")
    rows = [[f"{one['size_bytes']:,}", *(number(one[key]) for key in keys)] for one in messages]
    return markdown(MESSAGE_COLUMNS, rows)


def machine_line(machine: dict[str, Any]) -> str:
    """Say where and when a run was made."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    return (
        f"Commit {machine['commit']}, {machine['at']}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}; {versions}."
    )


def machine_lines(results: dict[str, Any]) -> str:
    """Say where, when and with what the run was made."""
    machine, options = results["machine"], results["options"]
    settings = " ".join(f"{name}={value}" for name, value in options["settings"].items())
    lines = [
        machine_line(machine),
        f"{results['files']['count']} files ({results['files']['kind']}), "
        f"{results['files']['mean_kib']:.0f} KiB on average; {options['rounds']} rounds of "
        f"{number(options['seconds'])} s; settings {settings or 'as shipped'}; "
        f"{neighbour_words(results.get('neighbour_cores'))}.",
    ]
    return "\n".join(lines)


def neighbour_words(cores: float | None) -> str:
    """Say how much of the machine others used during the run."""
    if cores is None:
        return "what else the machine did is not known"
    words = f"others kept {number(cores)} cores busy meanwhile"
    return words if cores <= QUIET_CORES else f"**{words}: the rates are not to be relied on**"


def generator_line(results: dict[str, Any]) -> str:
    """Say what the load generator can do at most, and how far above all servers that is."""
    generator = results.get("generator")
    if generator is None:
        return "The load generator's ceiling was not measured."
    words = (
        f"The load generator reached {generator['per_s']:.0f} requests/s of the same files against "
        f"a server that answers at once, at {1000 * generator['cpu_s_per_request']:.2f} ms of CPU "
        "per request"
    )
    rates = [
        one["per_s"]
        for model in results["models"].values()
        for one in model.get("servers", {}).values()
    ]
    if not rates:
        return f"{words}."
    return f"{words}: {number(generator['per_s'] / max(rates))} times the quickest server here."


def render(results: dict[str, Any]) -> str:
    """Give all tables of a run."""
    parts = [machine_lines(results), generator_line(results)]
    for name, model in results["models"].items():
        parts += [f"### {name}", bars_table(judge(name, model)), servers_table(model)]
        if overloads := model.get("overloads"):
            parts.append(overload_table(overloads))
        if processes := model.get("processes"):
            parts.append(processes_table(processes))
        parts += notes_part(model)
    if "start" in results:
        parts += ["### Start", bars_table(judge_starts(results))]
    if "workers" in results:
        parts += ["### Messages to workers", messages_table(results["workers"])]
    if "gpu" in results:
        parts += ["### GPU", gpu_part(results["gpu"])]
    parts += notes_part(results)
    return "\n\n".join(parts) + "\n"


def notes_part(results: dict[str, Any]) -> list[str]:
    """List what went otherwise than asked."""
    return ["\n".join(f"- {note}" for note in notes)] if (notes := results.get("notes")) else []


def gpu_part(gpu: dict[str, Any]) -> str:
    """Give what was measured on a CUDA device, or why there is nothing."""
    if "absent" in gpu:
        return str(gpu["absent"])
    parts = [f"Device: {gpu['device']}."]
    for name, model in gpu["models"].items():
        by_way = model["per_s_by_way"]
        buckets = list(next(iter(by_way.values())))
        rows = [[way, *(number(rates[size]) for size in buckets)] for way, rates in by_way.items()]
        parts.append(f"{name} on the device alone, images/s by batch size:")
        parts.append(markdown(["", *buckets], rows))
        parts.append(
            f"{name} over HTTP; the device's limit is the best of these, "
            f"{number(model['limit_per_s'])} images/s:"
        )
        ends = [
            [kind, *(number(end[key]) for key in ("per_s", "of_device", "p99_ms", "cores"))]
            for kind, end in model["end_to_end"].items()
        ]
        header = ["end to end", "images/s", "of the device's limit", "p99 ms", "cores busy"]
        parts.append(markdown(header, ends))
    return "\n\n".join(parts)
