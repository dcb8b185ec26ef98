"""The results of a search."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict

from training.experiments.search.space import Value
from training.runs.series import write_result

NAME = "search"
LEAST_FOR_IMPORTANCE = 20
"""Whole trials below which a field's importance is chance: of six, the wrong field came first."""


class TrialRow(BaseModel):
    """One trial; ``value`` is of the last epoch, None if unfinished."""

    model_config = ConfigDict(frozen=True)

    number: int
    state: str
    value: float | None
    epochs: int
    seconds: float | None
    values: dict[str, Value]


class SearchResult(BaseModel):
    """All trials, the best one, and the variance each field explains."""

    model_config = ConfigDict(frozen=True)

    figure: str
    best: int
    trials: tuple[TrialRow, ...]
    importance: dict[str, float]


def write_results(study: optuna.Study, figure: str, out: Path) -> SearchResult:
    """Write ``search.json`` and ``search.md``."""
    result = SearchResult(
        figure=figure,
        best=study.best_trial.number,
        trials=tuple(
            TrialRow(
                number=trial.number,
                state=trial.state.name.lower(),
                value=trial.value if trial.state == TrialState.COMPLETE else None,
                epochs=len(trial.intermediate_values),
                seconds=trial.duration.total_seconds() if trial.duration else None,
                values=trial.params,
            )
            for trial in study.trials
        ),
        importance=_importance(study),
    )
    write_result(result, _markdown(result), out, NAME)
    return result


def _importance(study: optuna.Study) -> dict[str, float]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)


def _markdown(result: SearchResult) -> str:
    fields = sorted({field for row in result.trials for field in row.values})
    header = ["trial", "state", result.figure, "epochs", *fields]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in sorted(result.trials, key=lambda r: (r.value is None, -(r.value or 0.0))):
        cells = [str(row.number), row.state, "-" if row.value is None else f"{row.value:.4f}"]
        cells += [str(row.epochs), *(_text(row.values.get(field)) for field in fields)]
        lines.append("| " + " | ".join(cells) + " |")
    if result.importance:
        shares = ", ".join(f"{field} {share:.2f}" for field, share in result.importance.items())
        lines += ["", f"Importance: {shares}."]
    return "\n".join(lines)


def _text(value: Value | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
