"""The choice of an explainer. What it needs is imported once it is chosen."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import EXPLAIN_NAME
from service.errors import NothingExplainsError, StartupError
from service.explain.explaining import Explainer
from service.settings import Settings
from service.telemetry.logs import log_event


def build_explainer(bundle: Bundle, provider: str, settings: Settings) -> Explainer:
    """Choose and build a model's explainer, logging which.

    Raises:
        NothingExplainsError: There is neither PyTorch nor a graph, and neither was asked for.
        StartupError: What was asked for is missing or unusable.
    """
    if settings.explain == "graph" or (settings.explain == "auto" and not _has_torch()):
        explainer = _build_on_graph(bundle, provider, settings)
    else:
        explainer = _build_on_torch(bundle, provider, settings)
    log_event(
        logging.INFO,
        "explainer chosen",
        model=bundle.manifest.name,
        explainer=type(explainer).__name__,
        precision=explainer.precision,
    )
    return explainer


def _has_torch() -> bool:
    return find_spec("torch") is not None


def _build_on_graph(bundle: Bundle, provider: str, settings: Settings) -> Explainer:
    from service.explain.graph_explainer import build_graph_explainer

    if settings.explain == "auto" and bundle.explain_path is None:
        raise NothingExplainsError(
            f"Model {bundle.manifest.name} is not explained: PyTorch is not installed, and the "
            f"bundle has no {EXPLAIN_NAME}. Install torch and torchvision, or export it again."
        )
    return build_graph_explainer(bundle, provider, settings)


def _build_on_torch(bundle: Bundle, provider: str, settings: Settings) -> Explainer:
    try:
        from service.explain.torch_explainer import build_torch_explainer

        return build_torch_explainer(bundle, provider, settings)
    except ModuleNotFoundError as error:
        raise StartupError(
            f"CXR_EXPLAIN={settings.explain}, but {error.name} is not installed, which model "
            f"{bundle.manifest.name} takes in PyTorch. Install it, or use CXR_EXPLAIN=graph."
        ) from None
