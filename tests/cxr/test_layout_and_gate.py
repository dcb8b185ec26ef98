"""The layout descriptor and the scope gate's judgement."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr.errors import BundleError
from cxr.images.decoding import Preprocessing, to_model_input
from cxr.images.layout import LAYOUT_SIZE, describe_layout, turn_layout
from cxr.verdict import reasons as why
from cxr.verdict.scope import PopulationLines, ScopeGate, ScopeThresholds, load_scope_gate
from export.phantom import draw_phantom

SPEC = Preprocessing(size_px=224, min_side_px=64)
CHEST = to_model_input(draw_phantom(0), SPEC)
THRESHOLDS = ScopeThresholds(
    layout=0.0, embedding=4.0, populations=(PopulationLines(score=0.0, rest=1e-3),)
)
NEAR = np.zeros(2, dtype=np.float32)


def gate_for(image: np.ndarray) -> ScopeGate:
    """Make a gate that takes for a chest what is laid out like one picture."""
    layout = describe_layout(image)
    bias = np.array([-0.9 * float(layout @ layout)], dtype=np.float32)
    return ScopeGate(
        layout_weights=layout,
        layout_bias=bias,
        population_weights=layout[np.newaxis],
        population_bias=bias,
        population_mean=layout[np.newaxis],
        population_components=np.zeros((1, 1, LAYOUT_SIZE), dtype=np.float32),
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
        pytest.param(255 - CHEST, why.INVERTED, id="inverted"),
        pytest.param(turned(1), why.TURNED[3], id="on its side"),
        pytest.param(turned(2), why.TURNED[2], id="upside down"),
        pytest.param(
            np.random.default_rng(0).integers(0, 256, (1, 224, 224), dtype=np.uint8),
            why.NOT_A_CHEST,
            id="noise",
        ),
    ],
)
def test_reason_says_what_is_wrong_with_the_layout(
    image: np.ndarray, reason: why.Reason | None
) -> None:
    """Whoever sent it can tell a turned radiograph from a wrong file; neither has a population."""
    found = gate_for(CHEST).judge(describe_layout(image), NEAR, THRESHOLDS)
    assert found.reasons == (() if reason is None else (reason,))
    assert found.population == (0 if reason is None else None)


def test_far_embedding_is_out_of_scope() -> None:
    """A chest's layout is not enough if the network finds nothing it knows."""
    layout, gate = describe_layout(CHEST), gate_for(CHEST)
    far = np.array([0.0, 2.01], dtype=np.float32)
    assert gate.judge(layout, far, THRESHOLDS).reasons == (why.UNLIKE_TRAINING,)
    assert gate.judge(layout, far * 0.99, THRESHOLDS).reasons == ()


def test_rest_is_what_components_leave_over() -> None:
    """Squared, for each population by its own components; only shape and place matter."""
    gate, layout = gate_for(CHEST), describe_layout(CHEST)
    along = np.zeros(LAYOUT_SIZE, dtype=np.float32)
    along[0] = 1.0
    seen = replace(gate, population_components=along[np.newaxis, np.newaxis])
    beside = np.roll(along, 1)
    layouts = np.stack([layout, layout + 2 * along, layout + 3 * beside, layout + along + beside])
    np.testing.assert_allclose(seen.population_rests(layouts)[:, 0], [0, 0, 9, 1], atol=1e-4)
    np.testing.assert_allclose(gate.population_rests(layouts)[:, 0], [0, 4, 9, 2], atol=1e-4)


def test_gate_survives_the_disk(tmp_path: Path) -> None:
    """What is read is what was saved; another network's or a damaged file is refused."""
    gate, path = gate_for(CHEST), tmp_path / "scope.safetensors"
    gate.save(path)
    read = load_scope_gate(path, embedding_size=2, count=1)
    np.testing.assert_array_equal(read.layout_weights, gate.layout_weights)
    np.testing.assert_array_equal(read.population_mean, gate.population_mean)
    with pytest.raises(BundleError, match="another network"):
        load_scope_gate(path, embedding_size=3, count=1)
    with pytest.raises(BundleError, match="other populations: population_weights"):
        load_scope_gate(path, embedding_size=2, count=2)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BundleError, match="damaged"):
        load_scope_gate(path, embedding_size=2, count=1)


FLAT, EMPTY = np.zeros(1, dtype=np.float32), np.zeros(0, dtype=np.float32)
NAN = np.full(1, np.nan, dtype=np.float32)


@pytest.mark.parametrize("values", [FLAT, EMPTY, NAN], ids=["of one", "empty", "nan"])
@pytest.mark.parametrize("name", [field.name for field in fields(ScopeGate)])
def test_gates_of_other_shapes_are_refused(
    name: str, values: NDArray[np.float32], tmp_path: Path
) -> None:
    """A digest only says that it is the file that was listed."""
    gate = gate_for(CHEST)
    if np.isnan(values).any():
        values = np.full_like(getattr(gate, name), np.nan)
    elif values.shape == getattr(gate, name).shape:
        return
    replace(gate, **{name: values}).save(tmp_path / "scope.safetensors")
    with pytest.raises(BundleError, match=f"is not|{name} holds"):
        load_scope_gate(tmp_path / "scope.safetensors", embedding_size=2, count=1)
