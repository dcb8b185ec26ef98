"""What a report says of classes that are more than there and not there."""

from __future__ import annotations

from service.answers import ImageResult


def class_remarks(result: ImageResult) -> tuple[str, ...]:
    """Give a sentence with the probability of every class; none if there are two of them."""
    if len(result.probabilities) == 2:
        return ()
    told = ", ".join(f"{name} {value:.3f}" for name, value in result.probabilities.items())
    return (f"Probabilities of the classes: {told}.",)
