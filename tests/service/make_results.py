"""Results as the service gives them, and sources with everything a patient may have."""

from __future__ import annotations

import io
from typing import Any

import pydicom

from service.answers import (
    ConclusionAnswer,
    ImageFacts,
    ImageResult,
    ModelRef,
    PopulationAnswer,
    ScopeAnswer,
    Uncertainty,
)
from tests.populations import CHILDREN
from tests.service.make_bundle import THRESHOLD
from tests.service.make_images import make_dicom

MODEL = ModelRef(
    name="resnet18",
    version="1.0.0",
    sha256="ab" * 32,
    engine="onnxruntime",
    provider="CPUExecutionProvider",
    precision="fp32",
)

CONCLUSION = ConclusionAnswer(
    headline="Signs of pneumonia: likely", subject="pneumonia", reasons=("It is above its line.",)
)

CANARY = {
    "PatientName": "Canary^Yellow",
    "PatientID": "CANARY-1",
    "IssuerOfPatientID": "CANARY-2",
    "PatientBirthDate": "20140703",
    "PatientSex": "F",
    "PatientAge": "061M",  # a child, whom the model of tests is validated on
    "AccessionNumber": "CANARY-3",
    "StudyID": "CANARY-4",
    "StudyDescription": "CANARY-5",
    "ReferringPhysicianName": "Canary^Physician",
    "StudyDate": "20190817",
    "StudyTime": "101112",
    "ContentDate": "20190818",
    "ContentTime": "131415.5",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.2",
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.3",
    "InstitutionName": "CANARY-6",
    "PatientComments": "CANARY-7",
}


def make_source(**changes: object) -> bytes:
    """Make a DICOM file with canary values; changes replace or, as None, remove elements."""
    ds = pydicom.dcmread(io.BytesIO(make_dicom(170, **CANARY)))
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        elif isinstance(value, bytes):  # as a careless writer leaves it, valid or not
            tag = pydicom.datadict.tag_for_keyword(keyword)
            vr = pydicom.datadict.dictionary_VR(keyword)
            ds[keyword] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True
            )
        else:
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def make_result(**changes: Any) -> ImageResult:
    """Make a result; changes replace its members."""
    values: dict[str, Any] = {
        "id": "0",
        "finding": "PNEUMONIA",
        "label": "PNEUMONIA",
        "decision": "positive",
        "conclusion": CONCLUSION,
        "probability": 0.97312345678,
        "probabilities": {"NORMAL": 0.02687654322, "PNEUMONIA": 0.97312345678},
        "operating_point": {
            "name": "balanced",
            "threshold": THRESHOLD,
            "sensitivity": 0.97,
            "specificity": 0.93,
        },
        "uncertainty": Uncertainty(prediction_set=("PNEUMONIA",), coverage=0.9, refer_band=None),
        "scope": ScopeAnswer(in_scope=True, reasons=(), codes=()),
        "population": PopulationAnswer(name="children", who=CHILDREN.who, validated=True),
        "warnings": (),
        "image": ImageFacts(sha256="c" * 64, format="dicom", width=96, height=96, dicom=None),
    }
    return ImageResult(**values | changes)
