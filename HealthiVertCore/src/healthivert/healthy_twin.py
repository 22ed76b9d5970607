"""A generated vertebra as it was when healthy, in the columns of the scan that shows it fractured.

In: the analyses of a scan and of its healthy twin, and where the vertebra stands in either. Out: the twin's analysis
for that vertebra. A fracture bends the spine, so that the two centrelines run up to a millimetre apart through the
vertebra; what is drawn over the footprint in the scan would be held against a body beside it.
"""

from __future__ import annotations

from dataclasses import replace

from healthivert.inspection import SpineAnalysis
from healthivert.phantom import Pose
from healthivert.straighten import to_straightened
from healthivert.types import FloatArray


def in_columns_of(scan: SpineAnalysis, twin: SpineAnalysis, level: str, pose: Pose, twin_pose: Pose) -> SpineAnalysis:
    """twin with its centreline moved to where the scan's runs through the vertebra. The poses are the level's, in the
    scan and in its twin; both have to show its body."""
    left, posterior = own_axis(twin, level, twin_pose) - own_axis(scan, level, pose)
    frame = twin.frame
    return replace(twin, frame=replace(frame, points=frame.points + left * frame.left + posterior * frame.posterior))


def own_axis(analysis: SpineAnalysis, level: str, pose: Pose) -> FloatArray:
    """(left, posterior) mm in the straightened frame: where the vertebra's own axis is, halfway up its body."""
    up = pose.axes[2]
    height = (analysis.bodies[level].centre - pose.centre) @ up
    return to_straightened(analysis.frame, pose.centre + height * up)[:2]
