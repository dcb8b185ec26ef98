"""One picture in every encoding of pixels a DICOM object may have."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from imagecodecs import htj2k_encode, jpeg2k_encode, jpeg8_encode, jpegls_encode
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from cxr.pixels.image import GrayImage
from export.phantom import encode_dicom

Edit = Callable[[Dataset], None]
ROOT = "1.2.840.10008.1.2"


def edited(image: GrayImage, *edits: Edit) -> bytes:
    """The uncompressed 12-bit object of a picture, changed."""
    ds = pydicom.dcmread(io.BytesIO(encode_dicom(image)))
    for edit in edits:
        edit(ds)
    return written(ds)


def written(ds: Dataset) -> bytes:
    """The Part 10 file of a dataset, whatever was done to it."""
    syntax = ds.file_meta.TransferSyntaxUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        ds,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=False,
    )
    return buffer.getvalue()


def raw_file(image: GrayImage, keyword: str, value: str, representation: str = "DS") -> bytes:
    """A file with a text value put into its bytes, in place of a marker of the same length."""
    padded = value + " " * (len(value) % 2)
    marker = "7" * len(padded)
    data = edited(image, lambda ds: ds.add_new(Tag(keyword), representation, marker))
    assert data.count(marker.encode()) == 1
    return data.replace(marker.encode(), padded.encode("latin-1"))


def pixels_of(ds: Dataset) -> np.ndarray[Any, Any]:
    """The uncompressed cells of a dataset, shape (H, W), unsigned."""
    kind = np.uint8 if ds.BitsAllocated == 8 else np.uint16
    return np.frombuffer(ds.PixelData, dtype=kind).reshape(ds.Rows, ds.Columns)


def in_syntax(uid: str) -> Edit:
    """Another way of writing the same uncompressed pixels."""

    def edit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
        if not ds.file_meta.TransferSyntaxUID.is_little_endian:
            ds.PixelData = pixels_of(ds).byteswap().tobytes()

    return edit


def compressed(uid: str, encode: Callable[[np.ndarray[Any, Any]], bytes]) -> Edit:
    """The pixels as they stand, in one frame of a codec."""

    def edit(ds: Dataset) -> None:
        frame = encode(np.ascontiguousarray(pixels_of(ds)))
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    return edit


def run_length(ds: Dataset) -> None:
    """RLE Lossless."""
    cells = pixels_of(ds)
    frame = RLELosslessEncoder.encode(
        cells,
        rows=ds.Rows,
        columns=ds.Columns,
        samples_per_pixel=1,
        bits_allocated=ds.BitsAllocated,
        bits_stored=ds.BitsAllocated,
        pixel_representation=0,
        number_of_frames=1,
        photometric_interpretation=ds.PhotometricInterpretation,
        encoding_plugin="pydicom",
    )
    compressed(f"{ROOT}.5", lambda _: frame)(ds)


def eight_bits(ds: Dataset) -> None:
    """One byte for each pixel."""
    ds.PixelData = (pixels_of(ds) >> 4).astype(np.uint8).tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.WindowCenter, ds.WindowWidth = 127.5, 255


def in_bits(bits: int, high_bit: int | None = None) -> Edit:
    """As many bits stored, in the lowest of a cell or ending at ``high_bit``."""

    def edit(ds: Dataset) -> None:
        high = bits - 1 if high_bit is None else high_bit
        values = pixels_of(ds).astype(np.uint32) << bits >> 12
        ds.PixelData = (values << (high + 1 - bits)).astype(np.uint16).tobytes()
        ds.BitsStored, ds.HighBit = bits, high
        ds.WindowCenter, ds.WindowWidth = 127.5 * 2 ** (bits - 8), 255 * 2 ** (bits - 8)

    return edit


def signed(ds: Dataset) -> None:
    """Two's complement in the stored bits alone, bits above them 0."""
    bits = int(ds.BitsStored)
    half = 1 << (bits - 1)
    values = (pixels_of(ds).astype(np.int32) - half) & ((1 << bits) - 1)
    ds.PixelData = values.astype(pixels_of(ds).dtype).tobytes()
    ds.PixelRepresentation, ds.WindowCenter = 1, float(ds.WindowCenter) - half


def sign_extended(ds: Dataset) -> None:
    """Two's complement over the whole cell."""
    half = 1 << (int(ds.BitsStored) - 1)
    ds.PixelData = (pixels_of(ds).astype(np.int32) - half).astype(np.int16).tobytes()
    ds.PixelRepresentation, ds.WindowCenter = 1, float(ds.WindowCenter) - half


def inverted(ds: Dataset) -> None:
    """MONOCHROME1."""
    ds.PixelData = (255 * 16 - pixels_of(ds)).tobytes()
    ds.PhotometricInterpretation = "MONOCHROME1"


def overlay_in_high_bits(ds: Dataset) -> None:
    """A graphic in bit 15 (retired, but met)."""
    ds.PixelData = (pixels_of(ds) | 0x8000).tobytes()
    ds.add_new(0x60000010, "US", ds.Rows)
    ds.add_new(0x60000011, "US", ds.Columns)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 15)


def separate_overlay(ds: Dataset) -> None:
    """A graphic of its own, all set."""
    ds.add_new(0x60000010, "US", ds.Rows)
    ds.add_new(0x60000011, "US", ds.Columns)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)
    ds.add_new(0x60003000, "OW", b"\xff" * (ds.Rows * ds.Columns // 8))


def without_window(ds: Dataset) -> None:
    """No VOI at all."""
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if keyword in ds:
            delattr(ds, keyword)


def rescaled(ds: Dataset) -> None:
    """A modality LUT of slope and intercept."""
    ds.RescaleSlope, ds.RescaleIntercept = 2, -1000
    ds.WindowCenter, ds.WindowWidth = 2 * 2040 - 1000, 2 * 4080


def modality_lut(ds: Dataset) -> None:
    """A modality LUT sequence."""
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
    item.LUTData = (np.arange(4096) * 2).astype(np.uint16).tobytes()
    ds.ModalityLUTSequence = Sequence([item])
    ds.WindowCenter, ds.WindowWidth = 4080, 8160


def voi_lut(ds: Dataset) -> None:
    """A VOI LUT sequence."""
    without_window(ds)
    item = Dataset()
    item.LUTDescriptor = [4081, 0, 16]
    item.LUTData = (np.arange(4081) * 65535 // 4080).astype(np.uint16).tobytes()
    ds.VOILUTSequence = Sequence([item])


def several_windows(ds: Dataset) -> None:
    """The first counts."""
    ds.WindowCenter, ds.WindowWidth = [2040, 100], [4080, 10]


def linear_window(ds: Dataset) -> None:
    """The function whose width counts both ends."""
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 2040.5, 4081, "LINEAR"


def colour(photometric: str = "RGB", planar: int = 0) -> Edit:
    """A secondary capture of three equal channels."""

    def edit(ds: Dataset) -> None:
        gray = (pixels_of(ds) >> 4).astype(np.uint8)
        neutral = gray if photometric == "RGB" else np.full_like(gray, 128)
        ds.PixelData = np.stack([gray, neutral, neutral], axis=-1 if planar == 0 else 0).tobytes()
        if photometric == "YBR_FULL_422":
            pairs = np.full((*gray.shape[:1], gray.shape[1] // 2, 4), 128, np.uint8)
            pairs[..., 0], pairs[..., 1] = gray[:, ::2], gray[:, 1::2]
            ds.PixelData = pairs.tobytes()
        make_colour(ds, photometric, planar)

    return edit


def make_colour(ds: Dataset, photometric: str, planar: int = 0) -> None:
    """Set the attributes of eight-bit colour."""
    without_window(ds)
    ds.PhotometricInterpretation, ds.SamplesPerPixel = photometric, 3
    ds.PlanarConfiguration, ds.BitsAllocated, ds.BitsStored, ds.HighBit = planar, 8, 8, 7


def colour_compressed(
    uid: str, photometric: str, encode: Callable[[np.ndarray[Any, Any]], bytes]
) -> Edit:
    """Three equal channels in one frame of a codec."""

    def edit(ds: Dataset) -> None:
        gray = (pixels_of(ds) >> 4).astype(np.uint8)
        compressed(uid, lambda _: encode(np.stack([gray] * 3, axis=-1)))(ds)
        make_colour(ds, photometric)

    return edit


def palette(ds: Dataset) -> None:
    """Indices into a grey ramp."""
    eight_bits(ds)
    without_window(ds)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ramp = (np.arange(256) * 257).astype(np.uint16).tobytes()
    for name in ("Red", "Green", "Blue"):
        keyword = f"{name}PaletteColorLookupTableDescriptor"
        setattr(ds, keyword, [256, 0, 16])
        ds[keyword].VR = "US"
        setattr(ds, f"{name}PaletteColorLookupTableData", ramp)


@dataclass(frozen=True)
class Encoding:
    """A named way to encode the phantom.

    Attributes:
        name: Of the test.
        edits: Applied to the uncompressed object one after another.
        tolerance: On the probability of the same picture.
        convert: Applied to the file.
    """

    name: str
    edits: tuple[Edit, ...]
    tolerance: float = 0.01
    convert: Callable[[bytes], bytes] = bytes

    def encode(self, image: GrayImage) -> bytes:
        """Give the Part 10 file of a picture."""
        return self.convert(edited(image, *self.edits))


def lossless_jpeg(predictor: int, bits: int) -> Callable[[np.ndarray[Any, Any]], bytes]:
    return lambda cells: jpeg8_encode(cells, lossless=True, predictor=predictor, bitspersample=bits)


def jpeg_2000(bits: int) -> Callable[[np.ndarray[Any, Any]], bytes]:
    return lambda cells: jpeg2k_encode(
        cells, codecformat="j2k", reversible=True, bitspersample=bits
    )


LOSSY_J2K = compressed(
    f"{ROOT}.4.91", lambda c: jpeg2k_encode(c, 55, codecformat="j2k", bitspersample=12)
)
NATIVE = {
    "implicit": f"{ROOT}",
    "explicit": f"{ROOT}.1",
    "deflated": f"{ROOT}.1.99",
    "big endian": f"{ROOT}.2",
}
CODECS: dict[str, Edit] = {
    "rle": run_length,
    "jpeg lossless process 14": compressed(f"{ROOT}.4.57", lossless_jpeg(6, 12)),
    "jpeg lossless sv1": compressed(f"{ROOT}.4.70", lossless_jpeg(1, 12)),
    "jpeg lossless sv1 of whole cells": compressed(f"{ROOT}.4.70", lossless_jpeg(1, 16)),
    "jpeg-ls": compressed(f"{ROOT}.4.80", jpegls_encode),
    "jpeg 2000 lossless": compressed(f"{ROOT}.4.90", jpeg_2000(12)),
    "jpeg 2000 lossless of whole cells": compressed(f"{ROOT}.4.90", jpeg_2000(16)),
    "htj2k lossless": compressed(f"{ROOT}.4.201", lambda c: htj2k_encode(c, reversible=True)),
    "htj2k rpcl": compressed(f"{ROOT}.4.202", lambda c: htj2k_encode(c, reversible=True, tlm=True)),
}
LOSSY: dict[str, tuple[Edit, ...]] = {
    "jpeg baseline": (eight_bits, compressed(f"{ROOT}.4.50", lambda c: jpeg8_encode(c, 95))),
    "jpeg extended, 12 bits": (
        compressed(f"{ROOT}.4.51", lambda c: jpeg8_encode(c, 95, bitspersample=12)),
    ),
    "jpeg extended, 8 bits": (
        eight_bits,
        compressed(f"{ROOT}.4.51", lambda c: jpeg8_encode(c, 95)),
    ),
    "jpeg-ls near": (compressed(f"{ROOT}.4.81", lambda c: jpegls_encode(c, 8)),),
    "jpeg 2000": (LOSSY_J2K,),
    "htj2k": (compressed(f"{ROOT}.4.203", lambda c: htj2k_encode(c, 0.0005, reversible=False)),),
}
PIXELS: dict[str, tuple[Edit, ...]] = {
    **{f"{bits} bits": (in_bits(bits),) for bits in (9, 10, 13, 14, 15, 16)},
    "8 bits": (eight_bits,),
    "8 bits in 16": (in_bits(8),),
    "high bit 15 of 12 bits": (in_bits(12, high_bit=15),),
    "high bit 13 of 12 bits": (in_bits(12, high_bit=13),),
    "signed": (signed,),
    "sign extended": (sign_extended,),
    "signed 16 bits": (in_bits(16), signed),
    "signed 8 bits": (eight_bits, signed),
    "monochrome1": (inverted,),
    "overlay in high bits": (overlay_in_high_bits,),
    "separate overlay": (separate_overlay,),
    "rescale": (rescaled,),
    "modality lut": (modality_lut,),
    "voi lut": (voi_lut,),
    "several windows": (several_windows,),
    "linear window": (linear_window,),
    "rgb by pixel": (colour(),),
    "rgb by plane": (colour(planar=1),),
    "ybr full": (colour("YBR_FULL"),),
    "ybr full by plane": (colour("YBR_FULL", 1),),
    "ybr full 422": (colour("YBR_FULL_422"),),
    "palette": (palette,),
    "rgb lossless jpeg": (
        colour_compressed(f"{ROOT}.4.70", "RGB", lambda c: jpeg8_encode(c, lossless=True)),
    ),
    "rgb jpeg-ls": (colour_compressed(f"{ROOT}.4.80", "RGB", jpegls_encode),),
    "rct jpeg 2000": (
        colour_compressed(
            f"{ROOT}.4.90",
            "YBR_RCT",
            lambda c: jpeg2k_encode(c, codecformat="j2k", reversible=True),
        ),
    ),
    "rct htj2k": (
        colour_compressed(f"{ROOT}.4.201", "YBR_RCT", lambda c: htj2k_encode(c, reversible=True)),
    ),
}
COLOUR_JPEG = colour_compressed(f"{ROOT}.4.50", "YBR_FULL_422", lambda c: jpeg8_encode(c, 95))
RGB_JPEG = colour_compressed(
    f"{ROOT}.4.50", "RGB", lambda c: jpeg8_encode(c, 95, colorspace="RGB", outcolorspace="RGB")
)

ENCODINGS = (
    *(Encoding(name, (in_syntax(uid),)) for name, uid in NATIVE.items()),
    *(Encoding(name, (edit,)) for name, edit in CODECS.items()),
    *(Encoding(name, edits, 0.03) for name, edits in LOSSY.items()),
    *(Encoding(name, edits) for name, edits in PIXELS.items()),
    *(Encoding(f"{name}, signed", (signed, edit)) for name, edit in CODECS.items()),
    *(Encoding(f"{name}, 16 bits", (in_bits(16), in_syntax(uid))) for name, uid in NATIVE.items()),
    *(Encoding(f"{name}, signed", (signed, in_syntax(uid))) for name, uid in NATIVE.items()),
    Encoding(
        "jpeg lossless of high bit 15",
        (in_bits(12, 15), CODECS["jpeg lossless sv1 of whole cells"]),
    ),
    Encoding("jpeg baseline in colour", (COLOUR_JPEG,), 0.03),
    Encoding("jpeg baseline in rgb", (RGB_JPEG,), 0.03),
)
