"""The layout descriptor and the scope gate's judgement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr.errors import BundleError
from cxr.images.decoding import Preprocessing, to_model_input
from cxr.images.layout import LAYOUT_SIZE, describe_layout, turn_layout
from cxr.verdict import scope as texts
from cxr.verdict.scope import ScopeGate, ScopeThresholds, load_scope_gate
from export.phantom import draw_phantom

SPEC = Preprocessing(size_px=224, min_side_px=64)
CHEST = to_model_input(draw_phantom(0), SPEC)
THRESHOLDS = ScopeThresholds(layout=0.0, embedding=4.0, unusual=1e6)
NEAR = np.zeros(2, dtype=np.float32)


def gate_for(image: np.ndarray) -> ScopeGate:
    """Make a gate that takes for a chest what is laid out like one picture."""
    layout = describe_layout(image)
    return ScopeGate(
        layout_weights=layout,
        layout_bias=np.array([-0.9 * float(layout @ layout)], dtype=np.float32),
        usual_mean=layout,
        usual_components=np.zeros((1, LAYOUT_SIZE), dtype=np.float32),
        embedding_mean=NEAR,
        embedding_whitening=np.eye(2, dtype=np.float32),
    )


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turned_descriptor_is_that_of_the_turned_picture(quarters: int, inverted: bool) -> None:
    """The gate asks how a picture would look otherwise without making that picture."""
    turned = np.rot90(CHEST[0], quarters)
    picture = np.ascontiguousarray(255 - turned if inverted else turned)[None]
    found = turn_layout(describe_layout(CHEST), quarters, inverted=inverted)
    expected = describe_layout(picture)
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    if quarters or inverted:
        assert np.corrcoef(found, describe_layout(CHEST))[0, 1] < 0.9


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_picture_has_a_finite_descriptor(level: int) -> None:
    """No gradient is no division by zero."""
    found = describe_layout(np.full((1, 224, 224), level, dtype=np.uint8))
    assert found.shape == (LAYOUT_SIZE,)
    assert (found == 0.0).all()


def turned(quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(CHEST[0], quarters))[None]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        pytest.param(CHEST, None, id="a chest"),
        pytest.param(255 - CHEST, texts.INVERTED, id="inverted"),
        pytest.param(turned(1), texts.TURNED[3], id="on its side"),
        pytest.param(turned(2), texts.TURNED[2], id="upside down"),
        pytest.param(
            np.random.default_rng(0).integers(0, 256, (1, 224, 224), dtype=np.uint8),
            texts.NOT_A_CHEST,
            id="noise",
        ),
    ],
)
def test_reason_says_what_is_wrong_with_the_layout(image: np.ndarray, reason: str | None) -> None:
    """Whoever sent it can tell a turned radiograph from a wrong file."""
    found = gate_for(CHEST).judge(describe_layout(image), NEAR, THRESHOLDS)
    assert found.reasons == (() if reason is None else (reason,))


def test_far_embedding_is_out_of_scope() -> None:
    """A chest's layout is not enough if the network finds nothing it knows."""
    layout, gate = describe_layout(CHEST), gate_for(CHEST)
    far = np.array([0.0, 2.01], dtype=np.float32)
    assert gate.judge(layout, far, THRESHOLDS).reasons == (texts.UNLIKE_TRAINING,)
    assert gate.judge(layout, far * 0.99, THRESHOLDS).reasons == ()


def test_unusual_picture_in_scope_is_warned_of_only() -> None:
    """The lesser line warns, and only where the greater one is not crossed."""
    gate, other = gate_for(CHEST), to_model_input(draw_phantom(5, 0.6), SPEC)
    layout = describe_layout(other)
    rest = float(gate.unusual_rests(layout[None])[0])
    lenient = replace(gate, layout_bias=np.array([1e3], dtype=np.float32))
    assert lenient.judge(layout, NEAR, THRESHOLDS).warnings == ()
    strict = THRESHOLDS.model_copy(update={"unusual": 0.99 * rest})
    assert lenient.judge(layout, NEAR, strict).warnings == (texts.UNUSUAL,)
    refused = strict.model_copy(update={"layout": 1e9})
    assert lenient.judge(layout, NEAR, refused).warnings == ()


def test_gate_survives_the_disk(tmp_path: Path) -> None:
    """What is read is what was saved; another network's or a damaged file is refused."""
    gate, path = gate_for(CHEST), tmp_path / "scope.safetensors"
    gate.save(path)
    read = load_scope_gate(path, embedding_size=2)
    np.testing.assert_array_equal(read.layout_weights, gate.layout_weights)
    with pytest.raises(BundleError, match="another network"):
        load_scope_gate(path, embedding_size=3)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BundleError, match="damaged"):
        load_scope_gate(path, embedding_size=2)
