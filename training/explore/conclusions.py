"""What to conclude from each figure."""

from __future__ import annotations

from collections import Counter

from cxr.metrics.estimate import format_estimate
from training.explore.findings import Exploration, Shortcuts

WEAK, STRONG = 0.6, 0.75
"""AUROC: below the first a clue is worth little, from the second on a model will find it."""


def conclude(found: Exploration) -> dict[str, str]:
    """Return a conclusion for each section."""
    return {
        "counts": _counts(found),
        "sizes": _sizes(found),
        "grey_levels": _grey_levels(found),
        "examples": (
            "The first image of each row is the one its class resembles most (where it is bright "
            "and dark, by oriented gradients); the last ones resemble it least. Look there for "
            "wrong views, turned or cut pictures, tubes and text."
        ),
        "edges": (
            "Canny's edges show what is sharp. Straight lines at the rim are collimator and film, "
            "not patient: a network may learn them."
        ),
        "lookalikes": (
            "The most alike images of different classes. Where a person cannot tell them apart "
            "either, expect errors, or wrong labels."
        ),
        "same": _same(found),
        "near": _near(found),
        "patients": _patients(found),
        "unreadable": _unreadable(found),
        **{f"shortcuts_{n}": _shortcuts(one) for n, one in enumerate(found.shortcuts)},
    }


def _counts(found: Exploration) -> str:
    totals: Counter[str] = Counter()
    for count in found.counts:
        totals[count.label] += count.images
    if len(totals) < 2:
        return f"One class only ({found.classes[0]}): nothing can be learnt from these alone."
    (most, many), (least, few) = totals.most_common()[0], totals.most_common()[-1]
    said = f"{most} is {many / few:.1f} times as frequent as {least}. "
    if many > 1.5 * few:
        said += (
            f"Who always says {most} is right in {many / sum(totals.values()):.0%} of cases: judge "
            "by AUROC, sensitivity and specificity, not by accuracy alone. "
        )
    small = [
        folder
        for folder in found.folders
        if folder.endswith("val")
        and sum(c.images for c in found.counts if c.folder == folder) < 100
    ]
    if small and len(totals) > 1:
        said += "The val folder is too small to choose anything on; training pools it with train."
    return said


def is_one_size(found: Exploration) -> bool:
    """Return whether all images have one size."""
    sides = {side for one in found.sizes for side in (one.width, one.height)}
    return all(side.smallest == side.largest for side in sides) and len(sides) <= 2


def _sizes(found: Exploration) -> str:
    medians = {one.label: one.aspect.median for one in found.sizes}
    first = found.sizes[0]
    if is_one_size(found):
        return (
            f"Every image is {first.width.median:.0f} x {first.height.median:.0f} px: sizes were "
            "made equal, so they tell nothing here. The squeeze that did it may still be visible."
        )
    told = ", ".join(f"{label} {value:.2f}" for label, value in medians.items())
    said = f"Median width against height: {told}. "
    if len(medians) > 1 and max(medians.values()) > 1.1 * min(medians.values()):
        said += (
            "Squeezed into a square, this becomes a clue in the picture itself; stretch images at "
            "random in training (aspect in a recipe's [augmentation])."
        )
    return said


def _grey_levels(found: Exploration) -> str:
    told = ", ".join(f"{one.label} {one.mean_level:.0f}" for one in found.grey_levels)
    levels = [one.mean_level for one in found.grey_levels]
    said = f"Mean grey level: {told}. "
    if max(levels) - min(levels) > 10:
        said += "Exposure differs between the classes; vary brightness and contrast in training."
    elif len(levels) > 1:
        said += "The classes hardly differ in it."
    return said + " Lines are means, bands hold eight of ten images."


def _same(found: Exploration) -> str:
    groups = found.same_pixels
    if not groups:
        return "No two files have the same pixels."
    files = sum(len(group.names) for group in groups)
    said = f"{files} files share their pixels with another, in {len(groups)} groups. "
    return said + _crossings(
        sum(group.crosses_folders for group in groups),
        sum(group.crosses_classes for group in groups),
        sum(group.crosses_patients for group in groups),
    )


def _near(found: Exploration) -> str:
    if not found.near:
        return f"No two pictures correlate at {found.near_threshold} or more."
    pairs = "1 pair correlates" if len(found.near) == 1 else f"{len(found.near)} pairs correlate"
    said = f"{pairs} at {found.near_threshold} or more"
    mirrored = sum(pair.mirrored for pair in found.near)
    said += f", {mirrored} of them mirrored. " if mirrored else ". "
    return said + _crossings(
        sum(pair.crosses_folders for pair in found.near),
        sum(pair.crosses_classes for pair in found.near),
        sum(pair.crosses_patients for pair in found.near),
    )


def _crossings(folders: int, classes: int, patients: int) -> str:
    text = (
        f"Across folders: {folders or 'none'}; across classes: {classes or 'none'}; across "
        f"patients: {patients or 'none'}. "
    )
    if folders:
        text += "What is measured on one folder was partly seen in another. "
    if classes:
        text += "One of the two labels must be wrong. "
    if patients:
        text += "File names do not tell all of one patient's images."
    return text


def _patients(found: Exploration) -> str:
    facts = found.patients
    said = (
        f"{found.images:,} images of {facts.patients:,} patients, by file name; up to "
        f"{facts.images_per_patient.largest:.0f} of one. A split by image would put one patient "
        "into several parts; ours is by patient. "
    )
    if shared := len(facts.in_several_folders):
        said += (
            f"{shared} names occur in several folders. If the numbering was begun anew in each "
            "folder they are different people; if not, the folders are not independent. "
        )
    elif len(found.folders) > 1:
        said += "No name occurs in two folders. "
    if facts.in_several_classes:
        said += f"{facts.in_several_classes} names occur in several classes."
    return said


def _unreadable(found: Exploration) -> str:
    if not found.unreadable:
        return "Every file could be read."
    return f"{len(found.unreadable)} files could not be read and are left out of all else."


def _shortcuts(one: Shortcuts) -> str:
    best = one.alone[0]
    said = (
        f"The best single clue is {best.title}, larger in {best.larger_in}: AUROC "
        f"{format_estimate('auroc', best.auroc)}. "
    )
    if best.larger_in is None:
        return "All clues are the same for all images: there is nothing to cheat with."
    if best.clue in ("file_bytes", "bytes_per_pixel"):
        said += (
            "A network does not see the file, but it sees what makes it large: fine detail, grain "
            "and the quality it was compressed with. "
        )
    whole = one.together
    if whole is None or whole.value is None:
        return said + "There are too few patients to try all clues together."
    said += f"All clues together reach {format_estimate('auroc', whole)} on patients not seen. "
    if whole.value < WEAK:
        return said + "That is close to chance: there is little to cheat with."
    if whole.value < STRONG:
        return said + "That is a weak shortcut; a model far above it looks at more."
    return said + (
        "That is a strong shortcut: a model can be this good without looking at a lung. Compare "
        "its AUROC with this one, and hide the clues by augmentation."
    )
