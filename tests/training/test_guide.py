"""Lung guidance: what is replaced, what is then learnt, and what counts as outside."""

from __future__ import annotations

import pytest
import torch

from training.fit.guide import Guide, Guided, share_outside, widened
from training.recipe import LungGuidance

N, SIDE = 8, 56


def make_batch() -> Guided:
    """Bright lungs in the left half, and targets that are sure."""
    images = torch.rand((N, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    lungs = torch.zeros_like(images)
    lungs[..., 10:40, 5:25] = 1.0
    return Guided(images, torch.eye(2)[torch.arange(N) % 2], lungs)


def change(**shares: float) -> tuple[Guided, Guided]:
    batch = make_batch()
    guide = Guide(LungGuidance(**shares), torch.Generator().manual_seed(0))
    return batch, guide.change(batch)


def test_outside_is_replaced_and_the_label_stays() -> None:
    """Lungs are as before, and little else is."""
    before, after = change(outside_p=1.0, blank_p=0.0)
    inside = before.lungs > 0
    assert torch.equal(after.images[inside], before.images[inside])
    far = widened(before.lungs, 4) == 0
    assert (after.images[far] != before.images[far]).float().mean() > 0.7
    assert torch.equal(after.targets, before.targets)


def test_without_lungs_every_class_is_as_likely() -> None:
    """Lungs are even, the rest stays, and nothing can be told."""
    before, after = change(outside_p=0.0, blank_p=1.0)
    far = widened(before.lungs, 4) == 0
    assert torch.equal(after.images[far], before.images[far])
    assert all(image[0, 10:40, 5:25].std() < 1e-6 for image in after.images)
    assert torch.equal(after.targets, torch.full((N, 2), 0.5))


def test_chances_of_zero_change_nothing() -> None:
    before, after = change(outside_p=0.0, blank_p=0.0)
    assert torch.equal(after.images, before.images)


def test_chances_may_not_exceed_one() -> None:
    with pytest.raises(ValueError, match="exceed 1"):
        LungGuidance(outside_p=0.7, blank_p=0.5)


@pytest.mark.parametrize(("where", "low", "high"), [("inside", 0.0, 0.1), ("outside", 0.8, 1.0)])
def test_share_is_that_of_evidence_outside(where: str, low: float, high: float) -> None:
    """Maps that are active in the lungs only have no evidence outside, and the other way round."""
    lungs = torch.zeros((2, 1, SIDE, SIDE))
    lungs[..., : SIDE // 2, :] = 1.0
    maps = torch.zeros((2, 3, 4, 4))
    maps[:, :, slice(0, 2) if where == "inside" else slice(3, 4)] = 5.0
    maps.requires_grad_()
    margin = maps.mean(dim=(2, 3)) @ torch.tensor([1.0, 2.0, -1.0])
    share = share_outside(maps, margin, lungs)
    assert low <= float(share.detach()) <= high
    share.backward()
    assert maps.grad is not None
