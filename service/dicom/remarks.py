"""What a report says in words beside its codes and numbers."""

from __future__ import annotations

from service.answers import ImageResult
from service.dicom import equipment


def conclusion_text(result: ImageResult) -> str:
    """Return the conclusion as one paragraph, with what it was drawn at and for."""
    words = result.conclusion
    sentences = [f"{words.headline}.", *words.reasons]
    if result.scope.in_scope:
        sentences.append(f"Operating point {result.operating_point.name}.")
    return " ".join((*sentences, equipment.NOT_A_DEVICE))


def class_remarks(result: ImageResult) -> tuple[str, ...]:
    """Return a sentence with the probability of every class, where these say more.

    Returns:
        Nothing for a model of two classes, or for an image it was not made for.
    """
    if len(result.probabilities) == 2 or not result.scope.in_scope:
        return ()
    told = ", ".join(f"{name} {value:.3f}" for name, value in result.probabilities.items())
    return (f"Probabilities of the classes: {told}.",)
