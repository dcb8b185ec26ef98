"""image/png."""

from __future__ import annotations

from starlette.responses import Response

from service.dicom.source import SourceHeader
from service.http.formats.format import BINARY, VARY, Explained, ExplainFormat, RenderFormat
from service.images.rendering import Picture
from service.models.models import ServedModel
from service.web.requests import RequestContext

PNG = "image/png"


class PngOverlay(ExplainFormat[bytes]):
    """The radiograph under its heatmap."""

    media_type = PNG
    content = BINARY

    def draw(self, explained: Explained, header: SourceHeader | None) -> bytes:
        """Render the overlay."""
        return explained.order.render_overlay_png()

    def respond(self, drawn: bytes, served: ServedModel, context: RequestContext) -> Response:
        """Return the picture."""
        return Response(drawn, media_type=PNG, headers=VARY)


class PngPicture(RenderFormat):
    """The picture."""

    media_type = PNG
    content = BINARY

    def respond(self, picture: Picture, request_id: str) -> Response:
        """Return the picture."""
        return Response(picture.png, media_type=PNG, headers=VARY)
