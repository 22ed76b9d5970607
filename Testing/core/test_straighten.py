"""The straightened frame and the patient are exact inverses of each other, and lengths survive straightening."""

import numpy as np
import pytest
from conftest import block_spine, lumbar_blocks
from hypothesis import example, given, settings
from hypothesis import strategies as st

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import find_bodies
from healthivert.straighten import centreline, straighten_around, to_patient, to_straightened
from healthivert.types import VertebralBody


def curved_bodies(sideways: float, forward: float, turn: float) -> dict[str, VertebralBody]:
    """Bodies on a bent line (lordosis and scoliosis), each turned a little more than the last."""
    bodies = {}
    for i, level in enumerate(("T12", "L1", "L2", "L3", "L4", "L5")):
        along = 35.0 * (5 - i)
        centre = np.array([sideways * np.sin(along / 60), forward * np.cos(along / 80), along])
        angle = np.radians(turn * i)
        back = np.array([np.sin(angle), np.cos(angle), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        plate = np.zeros((5, 5))
        bodies[level] = VertebralBody(
            level, centre, np.stack([np.cross(back, up), back, up]), plate + 13, plate - 13, np.zeros((3, 3, 3)), 1.0
        )
    return bodies


@settings(max_examples=25, deadline=None)
@given(st.floats(-15, 15), st.floats(-25, 25), st.floats(-5, 5), st.integers(0, 1000))
@example(15.0, 0.0, 3.0, 78)  # steps that took the planes for parallel were 0.01 mm off here after twelve of them
def test_to_patient_and_back_is_the_identity_within_the_tube(sideways, forward, turn, seed):
    frame = centreline(curved_bodies(sideways, forward, turn))
    random = np.random.default_rng(seed)
    inside = random.uniform([-36, -32, 20], [36, 32, frame.arc[-1] - 20], (200, 3))
    there = to_patient(frame, inside)
    assert np.abs(to_straightened(frame, there) - inside).max() < 1e-4
    assert np.abs(to_patient(frame, to_straightened(frame, there)) - there).max() < 1e-4


def test_arc_length_is_millimetres_along_the_curve():
    frame = centreline(curved_bodies(10, 20, 2))
    steps = np.linalg.norm(np.diff(frame.points, axis=0), axis=1)
    assert np.allclose(steps, np.diff(frame.arc), atol=2e-3)


@pytest.mark.parametrize("levels", [2, 5])
def test_the_centreline_passes_the_last_bodies_in_their_own_direction(levels):
    """Bodies on a circle of 150 mm radius, each perpendicular to it: the line between two centres is 7 degrees off."""
    radius, plate = 150.0, np.zeros((31, 31))
    bodies = {}
    for i, level in enumerate(("L1", "L2", "L3", "L4", "L5")[:levels]):
        angle = -36.0 * i / radius
        up, back = np.array([0, -np.sin(angle), np.cos(angle)]), np.array([0, np.cos(angle), np.sin(angle)])
        axes = np.stack([np.cross(back, up), back, up])
        bodies[level] = VertebralBody(
            level, radius * (back - [0, 1, 0]), axes, plate + 13, plate - 13, np.zeros((3, 3, 3)), 1.0
        )
    frame = centreline(bodies)
    for body in (bodies["L1"], list(bodies.values())[-1]):
        tangent = frame.tangent[np.linalg.norm(frame.points - body.centre, axis=1).argmin()]
        assert np.degrees(np.arccos(tangent @ body.axes[2])) < 2.5


def test_axes_are_orthonormal_and_right_handed():
    frame = centreline(curved_bodies(10, 20, 2))
    for a, b in ((frame.left, frame.posterior), (frame.left, frame.tangent), (frame.posterior, frame.tangent)):
        assert np.abs((a * b).sum(axis=1)).max() < 1e-9
    assert np.allclose(np.cross(frame.left, frame.posterior), frame.tangent, atol=1e-9)


def test_a_straightened_block_keeps_its_height_and_place():
    case = block_spine(lumbar_blocks())
    bodies = find_bodies(case)
    straight = straighten_around(case, bodies, centreline(bodies), "L2", 40.0)
    own = straight.bodies == LEVEL_NUMBER["L2"]
    rows = np.flatnonzero(own.any(axis=(1, 2)))
    assert rows[-1] - rows[0] + 1 == pytest.approx(27, abs=1)
    assert rows[0] == 40
    assert not (straight.bodies[:30] == LEVEL_NUMBER["L2"]).any()
    middle = np.argwhere(own).mean(axis=0)
    assert middle[1] == pytest.approx(straight.ct.shape[1] / 2, abs=2)
    assert middle[2] == pytest.approx(straight.ct.shape[2] / 2, abs=2)


def test_one_body_alone_still_has_a_frame():
    bodies = {"L2": curved_bodies(0, 0, 0)["L2"]}
    frame = centreline(bodies)
    assert np.allclose(to_straightened(frame, bodies["L2"].centre)[:2], 0, atol=1e-6)
