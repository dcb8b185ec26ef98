"""What others published on this data set; their figures are of its official test folder."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.data.labels import ETIOLOGY, PNEUMONIA, TERNARY, Task


@dataclass(frozen=True)
class Published:
    """One published system.

    Attributes:
        what: The system.
        task: What it tells.
        figures: As published.
        source: Who published it.
        recipe: The recipe here that does the same; None if there is none.
    """

    what: str
    task: Task
    figures: str
    source: str
    recipe: str | None


COURSE = "student projects on the Kaggle copy"
KERMANY = "Kermany et al., Cell 172, 2018"
RAJARAMAN = "Rajaraman et al., Applied Sciences 8, 2018"

PUBLISHED = (
    Published("four convolutions with batch norm", PNEUMONIA, "accuracy 0.82", COURSE, "cnn_bn"),
    Published(
        "VGG-16 (VGG-Face), frozen", PNEUMONIA, "accuracy 0.877, F1 0.84 / 0.90", COURSE, "vgg16"
    ),
    Published(
        "ResNet-152 V2, fine-tuned", PNEUMONIA, "accuracy 0.905, AUROC 0.975", COURSE, "resnet152v2"
    ),
    Published("Inception V3", PNEUMONIA, "accuracy 0.928, AUROC 0.968", KERMANY, None),
    Published("VGG-16, customised", PNEUMONIA, "accuracy 0.962, AUROC 0.993", RAJARAMAN, None),
    Published("DenseNet-121, ResNet", ETIOLOGY, "accuracy 0.75", COURSE, "densenet121-etiology"),
    Published("Inception V3", ETIOLOGY, "accuracy 0.907, AUROC 0.940", KERMANY, None),
    Published("several networks", TERNARY, "accuracy 0.70", COURSE, "resnet18-ternary"),
    Published("VGG-16, customised", TERNARY, "accuracy 0.918", RAJARAMAN, None),
)


@dataclass(frozen=True)
class Outside:
    """A published figure for patients of other sources than were learnt from."""

    what: str
    figures: str
    source: str


OUTSIDE = (
    Outside(
        "pneumonia of children, tried on adults",
        "AUROC 0.95 inside, 0.54 outside",
        "Xin et al., Emergency Radiology, 2021",
    ),
    Outside(
        "opacity against everything else in the RSNA challenge, segmentation baseline",
        "AUROC 0.854",
        "RSNA Pneumonia Detection Challenge",
    ),
)
