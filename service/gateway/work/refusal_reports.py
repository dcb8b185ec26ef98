"""Reports on permanently refused images."""

from __future__ import annotations

import httpx

from service.answers import ModelAnswer
from service.client import Client
from service.dicom.results import build_not_analysed, can_build_reports
from service.errors import StartupError


class RefusalReports:
    """Builds reports why images were not analysed. Any thread."""

    def __init__(
        self,
        service_url: str,
        timeout_s: float,
        model: str = "",
        auth: httpx.Auth | None = None,
    ) -> None:
        if not can_build_reports():
            raise StartupError(
                "CXR_GATEWAY_NOT_ANALYSED=report needs highdicom: "
                "pip install 'cxr-inference[pacs]', or use dead."
            )
        self._service_url = service_url
        self._timeout_s = timeout_s
        self._model = model
        self._auth = auth

    def __call__(self, data: bytes, reason: str) -> bytes:
        """Build the report."""
        words = reason.removeprefix("service-").replace("-", " ")
        asked = self._model_asked()
        return build_not_analysed(
            data, f"The image was refused: {words}.", asked, asked.positive_class
        )

    def _model_asked(self) -> ModelAnswer:
        with Client(self._service_url, api_key=self._auth, timeout_s=self._timeout_s) as client:
            models = client.models()
        return next(
            one for one in models if (one.name == self._model if self._model else one.default)
        )
