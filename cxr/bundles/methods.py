"""Methods of weighing feature maps; does not import PyTorch."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BeforeValidator

Method: TypeAlias = Literal["gradcam", "gradcam_plus_plus", "layercam"]
METHODS: tuple[Method, ...] = get_args(Method)

FORMER_NAMES = {"gradcam++": "gradcam_plus_plus"}
"""What a method was called before its name could be one in any programming language."""


def current_name(given: object) -> object:
    """Return the current name of a renamed method."""
    return FORMER_NAMES.get(given, given) if isinstance(given, str) else given


GivenMethod: TypeAlias = Annotated[Method, BeforeValidator(current_name)]
"""A method that may be given by its former name."""
