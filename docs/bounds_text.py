"""The bounds on files, as the end of the page about DICOM."""

from __future__ import annotations

from cxr.dicom import bounds as dicom
from cxr.dicom import codestream as jpeg_2000
from cxr.dicom.syntaxes import READ
from cxr.images.decoding import PIXEL_BYTES
from cxr.images.png_stream import MAX_CHUNKS
from cxr.pixels import jpeg_markers as jpeg

TEXT = """
## Bounds

A small file can cost its reader much. What a file holds is counted before objects are made of it,
and one that holds more than this is refused with 413 `payload-too-large`, which says of what. The
gateway counts in the same way as far as the UIDs it files an object under.

| of a file | at most | why |
|---|---|---|
{rows}
Private elements are not read, so that their values are not counted. Pixel data beyond Rows x
Columns are ignored.

## Memory

An image takes at most {pixel_bytes} bytes for each pixel it declares, beside the file itself and
about 2 MB of tables. Encodings whose libraries need more are accepted up to accordingly fewer
pixels: at `CXR_MAX_IMAGE_PIXELS` of {limit} million, up to the last column. Send what is larger as
uncompressed grey pixels. Measured at 9 million pixels (`tests/cxr/test_memory.py`): uncompressed
1.2 bytes a pixel, deflated and big endian 3.2, run-length encoded 3.1, JPEG 2.2 to 3.3,
JPEG-LS 3.3, JPEG 2000 7.2, in colour 15.9.

| pixels | bytes each | million pixels |
|---|---|---|
{memory}
A colour JPEG file by itself is decoded at a reduced scale and needs less: 6 bytes if it is
progressive, else 3.

So a service needs the memory it has at rest, `CXR_MAX_BUFFERED_BYTES`, `CXR_MAX_BODY_BYTES` once
more (a body in pieces is joined), and {pixel_bytes} x `CXR_MAX_IMAGE_PIXELS` for each of its
`CXR_WORKERS` (as many as cores). A test reckons this for the Kubernetes manifests; see
[kubernetes.md](kubernetes.md). Memory that is short all the same is told: 413 where it is short for
an image, 429 where it is for a body.
"""

ROWS = (
    ("elements, on all levels", dicom.MAX_ELEMENTS, "radiographs have 50 to 500"),
    ("items of sequences", dicom.MAX_ITEMS, "a study's instances may be listed"),
    ("fragments of a frame", dicom.MAX_ITEMS, "one, or a few"),
    ("sequences within one another", dicom.MAX_DEPTH, "structured reports nest about ten deep"),
    ("values of a text", dicom.MAX_TEXTS, "windows are a handful"),
    ("MiB of a text", dicom.MAX_TEXT_BYTES >> 20, "names, dates and codes are short"),
    ("numbers of an element", dicom.MAX_NUMBERS, "twice a lookup table of 16 bits"),
    ("MiB before the pixel data", dicom.MAX_HEADER_BYTES >> 20, "icons, overlays, private data"),
    ("scans of a JPEG, also in DICOM", jpeg.MAX_SCANS, "each costs as much as a picture"),
    ("segments of a JPEG", jpeg.MAX_SEGMENTS, "a dozen, or some hundred of a profile"),
    ("stray bytes in a JPEG's head", jpeg.MAX_STRAY_BYTES, "between segments there are none"),
    ("segments and tile parts of a JPEG 2000", jpeg_2000.MAX_SEGMENTS, "one, or a few a tile"),
    ("chunks of a PNG", MAX_CHUNKS, "one for each 8 kB of data"),
)


def bounds_text(max_pixels: int) -> str:
    """Give the sections about bounds and memory.

    Args:
        max_pixels: Default of ``CXR_MAX_IMAGE_PIXELS``.
    """
    heavy = {"uncompressed or run-length, grey": 4, "the same, of three bytes": 5}
    for syntax in READ:
        if syntax.codec is not None:
            name = syntax.codec.family.replace("jpeg", "JPEG").replace("-ls", "-LS")
            heavy[f"{name}, grey"] = syntax.codec.gray_bytes
            heavy[f"{name}, colour"] = syntax.codec.colour_bytes
    most = {
        name: max_pixels * PIXEL_BYTES // max(size, PIXEL_BYTES) for name, size in heavy.items()
    }
    return TEXT.format(
        rows="".join(f"| {what} | {most} | {why} |\n" for what, most, why in ROWS),
        memory="".join(
            f"| {name} | {heavy[name]} | {pixels // 1_000_000} |\n" for name, pixels in most.items()
        ),
        pixel_bytes=PIXEL_BYTES,
        limit=max_pixels // 1_000_000,
    )
