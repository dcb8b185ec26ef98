"""Builds explainers. The first one loads PyTorch."""

from __future__ import annotations

from cxr.bundles.bundle import Bundle
from service.explain.explaining import Explainer
from service.settings import Settings


def build_explainer(bundle: Bundle, provider: str, settings: Settings) -> Explainer:
    """Build a model's explainer.

    Raises:
        StartupError: The architecture is unknown, or PyTorch cannot use the device.
    """
    from service.explain.torch_explainer import build_torch_explainer

    return build_torch_explainer(bundle, provider, settings)
