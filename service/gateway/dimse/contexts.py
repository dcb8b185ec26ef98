"""Accepted presentation contexts (PS3.8, 7.1.1.13)."""

from __future__ import annotations

from copy import copy
from typing import Any

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import (
    ALL_TRANSFER_SYNTAXES,
    DEFAULT_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
)
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    Verification,
)

COMMITMENT_SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
"""Not deflated: nothing bounds the size of a request after inflation."""


class SharedContext(PresentationContext):
    """A shared presentation context: deep copies are slow."""

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedContext:
        return copy(self)


def build_contexts() -> list[PresentationContext]:
    """Return the contexts for storage, verification and storage commitment."""
    classes = [one.abstract_syntax for one in AllStoragePresentationContexts]
    syntaxes = {one: list(ALL_TRANSFER_SYNTAXES) for one in classes}
    syntaxes |= {
        Verification: DEFAULT_TRANSFER_SYNTAXES,
        StorageCommitmentPushModel: COMMITMENT_SYNTAXES,
    }
    contexts: list[PresentationContext] = []
    for sop_class, allowed in syntaxes.items():
        context = SharedContext()
        context.abstract_syntax, context.transfer_syntax = sop_class, list(allowed)
        contexts.append(context)
    return contexts
