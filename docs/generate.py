"""Write the documents that are made from code, or check that they are fresh.

``python docs/generate.py`` writes them; ``--check`` fails if one differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from benchmarks.results.document import open_results  # noqa: E402
from benchmarks.results.kept import DOCUMENT, PAGE  # noqa: E402
from benchmarks.results.page import render_results  # noqa: E402
from cxr.dicom.syntaxes import syntaxes_table  # noqa: E402
from docs.bounds_text import bounds_text  # noqa: E402
from docs.problems_page import render_problems_page  # noqa: E402
from service.access.access import Access  # noqa: E402
from service.app.application import build_app  # noqa: E402
from service.engines.registry import build_engine  # noqa: E402
from service.gateway.settings import GatewaySettings  # noqa: E402
from service.models.runtime import Runtime  # noqa: E402
from service.settings import Settings  # noqa: E402
from service.telemetry.gateway import GATEWAY_METRICS  # noqa: E402
from service.telemetry.log_fields import log_fields_table  # noqa: E402
from service.telemetry.metrics import VERSION_METRICS, buckets_table, metrics_table  # noqa: E402
from tools.settings_table import settings_table  # noqa: E402

ALERTS = DOCS.parent / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
COMPOSE_ALERTS = DOCS.parent / "deploy" / "alerts.yaml"
PROBLEMS_PAGE = DOCS.parent / "service" / "http" / "page" / "problems.html"

CONFIGURATION = """# Configuration

The service reads environment variables with the prefix `CXR_` and refuses to start on one it does
not know. `--host`, `--port`, `--bundles`, `--tls-certificate` and `--tls-key` of `python -m service
serve` override theirs. What belongs to a model (thresholds, sizes, calibration) lies in its bundle
and cannot be set; a request chooses among the bundle's operating points by name.

This page is made from the code by `make docs`.

"""

GATEWAY_CONFIGURATION = """
## The gateway

`python -m service gateway` and `python -m service jobs` read `CXR_GATEWAY_*`, and refuse one they
do not know; see [gateway.md](gateway.md).

"""

VERSION_METRICS_TEXT = """
## Versions and shadows

See [model-versions.md](model-versions.md).

"""

GATEWAY_METRICS_TEXT = """
## The gateway

Its own `GET /metrics`, beside the process's.

"""

DICOM = """# DICOM that is read

One chest radiograph per object, single-frame, of 8 to 16 bits stored in 8 or 16 (or 1 of 1),
signed or not, MONOCHROME1 or 2, or colour converted to grey: RGB, YBR (full, 422, RCT, ICT), a
palette (segmented or not). Applied in the standard's order: bits outside BitsStored and HighBit
masked (overlays in them are ignored, as separate ones are); modality LUT sequence or rescale; VOI
LUT sequence, else the first window (LINEAR, LINEAR_EXACT, SIGMOID), else the range of the values
without padding; inversion of MONOCHROME1. A frame must be complete and of the dataset's size, or
the object is refused. Of the header JSON answers tell Modality, View Position, Body Part
Examined, Photometric Interpretation and the transfer syntax; one that has not the form of a code
is told as `?`, so that a name in the wrong field stays where it is.

**Odd files.** Sound pixels are shown even if an attribute around them is not sound; `warnings` name
each that was ignored or assumed:

- Lookup tables (VOI, modality, palette) are read by their data: as bytes where there are as many
  bytes as entries, else as words; white is that of the bits in use, whatever the descriptor
  declares. One with too few entries is ignored.
- In numbers a decimal comma is a point. One that is empty, infinite or no number is ignored, and
  so is a Rescale Slope of 0.
- Absent attributes: Pixel Representation is taken as 0, Bits Stored as Bits Allocated, High Bit
  as one less than Bits Stored, Planar Configuration as 0, Samples per Pixel as Photometric
  Interpretation needs it.
- Values of a lossy frame beyond Bits Stored are clamped; of other frames the bits beyond are
  masked.
- A colour JPEG is YCbCr if it has a JFIF marker, else what Adobe's marker says, else what
  Photometric Interpretation says.
- Offset tables are not needed: all fragments are the one frame.
- Padding counts in either sign, of the cell or of the bits stored.
- Words such as LAT, LL, XTABLE or OBL for the view position are lateral (`refer`); one that is
  not known warns as an absent one does.
- Spellings of the chest (THORAX PA, CHEST_PA, CHEST 1 VIEW, TORAX …) and the modalities DR and XR
  are accepted.

**A limit:** a JPEG (baseline, extended, progressive or lossless; in DICOM or by itself) that was
cut and got an end marker again is read, with grey where its end was: the decoders fill in what is
missing and do not tell. So is one whose compressed data are damaged but can still be decoded.
Without the end marker any cut JPEG is refused; whoever stores and sends should compare digests
(every answer has the SHA-256 of the bytes received).

Compressed pixels are read by [imagecodecs](https://github.com/cgohlke/imagecodecs)
(BSD-3-Clause) with the libraries named below, uncompressed ones by NumPy, the header by pydicom
(MIT). No other decoder is used, even if it is installed. **Not read (415):** MPEG, HEVC,
JPIP, JPEG XL, JPEG 2000 part 2, and files without the preamble of Part 10. **Refused (422):**
several frames, 32-bit and float pixels, objects without pixels.

This page is made from the code by `make docs`.

"""

METRICS = """# Metrics

`GET /metrics` gives these as Prometheus text, beside the process's own, such as
`process_cpu_seconds_total` and `process_resident_memory_bytes`. It is answered on the event loop,
beside all admission: also while every core decodes, while the service starts and while it drains.

`route` is the template of a route, `problem` the end of a type in [problems.md](problems.md),
`model` the name of a loaded bundle. No label holds an id, a file name or anything of a patient.
What is no HTTP, and connections that never sent a request, are not counted. Log lines, traces and
how to read drift: [observability.md](observability.md).

This page is made from the code by `make docs`.

"""


BUCKETS = """
Upper bounds of the histograms' buckets, beside infinity:

"""

FIELDS_BEGIN, FIELDS_END = "<!-- log fields -->\n", "<!-- end of log fields -->\n"


def _with_log_fields(text: str) -> str:
    before, _, rest = text.partition(FIELDS_BEGIN)
    return before + FIELDS_BEGIN + log_fields_table() + FIELDS_END + rest.partition(FIELDS_END)[2]


def render_alerts(resource: str) -> str:
    """Give the rules in a PrometheusRule as a file that Prometheus itself reads."""
    _, _, spec = resource.partition("\nspec:\n")
    return "# Made from k8s/components/monitoring by make docs.\n" + dedent(spec)


def render_documents() -> dict[Path, str]:
    """Give every generated document with its content."""
    settings = Settings.model_construct()
    access = Access()  # the document tells of keys, which most who read it need
    document = build_app(Runtime(settings, build_engine), access=access).openapi()
    return {
        DOCS / "configuration.md": CONFIGURATION
        + settings_table()
        + GATEWAY_CONFIGURATION
        + settings_table(GatewaySettings),
        DOCS / "dicom.md": DICOM + syntaxes_table() + bounds_text(settings.max_image_pixels),
        DOCS / "metrics.md": METRICS
        + metrics_table()
        + BUCKETS
        + buckets_table()
        + VERSION_METRICS_TEXT
        + metrics_table(VERSION_METRICS)
        + BUCKETS
        + buckets_table(VERSION_METRICS)
        + GATEWAY_METRICS_TEXT
        + metrics_table(GATEWAY_METRICS)
        + BUCKETS
        + buckets_table(GATEWAY_METRICS),
        DOCS / "observability.md": _with_log_fields((DOCS / "observability.md").read_text()),
        DOCS / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        COMPOSE_ALERTS: render_alerts(ALERTS.read_text()),
        PAGE: render_results(open_results(DOCUMENT)),
        PROBLEMS_PAGE: render_problems_page((DOCS / "problems.md").read_text()),
    }


def main() -> int:
    """Write, or with ``--check`` compare."""
    stale = []
    for path, content in render_documents().items():
        if "--check" not in sys.argv[1:]:
            path.write_text(content)
        elif not path.is_file() or path.read_text() != content:
            stale.append(path.name)
    if stale:
        print(f"not fresh: {', '.join(stale)}; run make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
