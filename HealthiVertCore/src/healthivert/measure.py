"""Body heights in mm and the relative height loss (RHLV), from column heights between sub-voxel endplates.

In: (AP, LR) maps of column heights. Out: Heights per third, six-point heights, RHLV signed, maps, and the publication's
own formula beside ours. A segmented body, a drawn one and one on another grid are measured alike, but for how far its
wall is rounded (Rim).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.body import plate_rows
from healthivert.types import HEIGHT_KEYS, FloatArray, Heights, PseudoHealthy, VertebralBody

BAND_OF_WIDTH = 0.15  # mid-sagittal band: columns within this part of the body's width of the middle
RIM_OF_DEPTH = 0.08  # left out at the anterior and the posterior wall, where rims are rounded
SPUR_SHARE = 0.5  # a column at the rim lower than this share of those behind it is an osteophyte, not the wall
RIM_OF_VOXEL = 1.1  # a segmentation rounds a rim over one voxel; what is low for longer than that is a spur


class Rim(NamedTuple):
    """What at the ends of a profile may be something else than the body's wall. rounded_mm: how far a map's resolution
    may round a rim; a longer low stretch is a spur. behind_mm: as much of what lies behind a column tells whether it is
    low."""

    rounded_mm: float = 1.0
    behind_mm: float = 6.0  # or the thin edge of a wedge would be one


EXACT = Rim()  # of a surface that is known column by column
GENERATED = Rim(behind_mm=15.0)  # healthy bodies: there a long low stretch is an osteophyte of the neighbour drawn from


def segmented(body: VertebralBody) -> Rim:
    return Rim(RIM_OF_VOXEL * body.voxel_mm)


def mid_sagittal_profile(height_map: FloatArray, column_mm: float, rim: Rim = EXACT) -> tuple[FloatArray, FloatArray]:
    """Mean column height over the mid-sagittal band, from the anterior to the posterior wall.

    height_map: (AP, LR) mm, NaN off the body. Returns AP positions (N,) in mm from the anterior wall and heights (N,)
    mm.
    """
    rows, columns = _mid_sagittal_columns(height_map, column_mm, rim)
    return (np.arange(len(rows)) + 0.5) * column_mm, _means_across(height_map, height_map, rows, columns)


def _mid_sagittal_columns(height_map: FloatArray, column_mm: float, rim: Rim) -> tuple[NDArray[np.integer], slice]:
    """AP indices from the anterior to the posterior wall, without spurs, and LR indices of the mid-sagittal band."""
    rows, columns, (first, last) = _band(height_map, column_mm, rim)
    return rows[first : len(rows) - last], columns


def _band(height_map: FloatArray, column_mm: float, rim: Rim) -> tuple[NDArray[np.integer], slice, tuple[int, int]]:
    """AP and LR indices of the mid-sagittal band, and how many of the first at either end, anterior and posterior, are
    a spur."""
    footprint = np.isfinite(height_map)
    if not footprint.any():
        raise ValueError("empty height map")
    across = np.flatnonzero(footprint.any(axis=0))
    middle = (across[0] + across[-1]) / 2
    half = max(BAND_OF_WIDTH * (across[-1] - across[0] + 1), 0.5)
    columns = slice(int(np.ceil(middle - half)), int(np.floor(middle + half)) + 1)
    filled = footprint[:, columns]
    rows = np.flatnonzero(filled.sum(axis=1) >= max(1, filled.shape[1] / 2))
    heights = _means_across(height_map, height_map, rows, columns)
    return rows, columns, (_spur_columns(heights, column_mm, rim), _spur_columns(heights[::-1], column_mm, rim))


def _means_across(values: FloatArray, height_map: FloatArray, rows: NDArray[np.integer], columns: slice) -> FloatArray:
    """(N,) means of values (AP, LR) over the band's columns that height_map has, for each of the AP indices rows."""
    filled = np.isfinite(height_map[rows, columns])
    return np.where(filled, values[rows, columns], 0.0).sum(axis=1) / filled.sum(axis=1)


def _spur_columns(heights: FloatArray, column_mm: float, rim: Rim) -> int:
    """How many columns at the start are an osteophyte: all of them much lower than those behind the last one, for
    longer than a rim."""
    reach = max(2, round(rim.behind_mm / column_mm))
    columns = 0
    for count in range(1, len(heights) // 3 + 1):
        behind = heights[count + 1 : count + 1 + reach]
        if behind.size and heights[:count].max() < SPUR_SHARE * np.median(behind):
            columns = count
    return columns if columns * column_mm > rim.rounded_mm else 0


def third_heights(height_map: FloatArray, column_mm: float, rim: Rim = EXACT) -> Heights:
    """Mean heights of the anterior, middle and posterior third of the mid-sagittal band, rims left out, and their mean.

    height_map: (AP, LR) mm.
    """
    anterior, middle, posterior = third_means(height_map, height_map, column_mm, rim).tolist()
    return Heights(anterior, middle, posterior, (anterior + middle + posterior) / 3)


def third_means(values: FloatArray, height_map: FloatArray, column_mm: float, rim: Rim = EXACT) -> FloatArray:
    """(3,) means of values (AP, LR) over the very columns whose heights third_heights averages, by third."""
    rows, columns = _mid_sagittal_columns(height_map, column_mm, rim)
    means = _means_across(values, height_map, rows, columns)
    place = (np.arange(len(rows)) + 0.5) / len(rows)
    inner = (place >= RIM_OF_DEPTH) & (place <= 1 - RIM_OF_DEPTH)
    thirds = np.clip(((place - RIM_OF_DEPTH) / (1 - 2 * RIM_OF_DEPTH) * 3).astype(int), 0, 2)
    return np.array([means[inner & (thirds == third)].mean() for third in range(3)])


def body_profile(body: VertebralBody) -> tuple[FloatArray, FloatArray]:
    """mid_sagittal_profile of a segmented body."""
    return mid_sagittal_profile(body.height_map, body.column_mm, segmented(body))


def body_heights(body: VertebralBody) -> Heights:
    """third_heights of a segmented body."""
    return third_heights(body.height_map, body.column_mm, segmented(body))


def spurs_mm(body: VertebralBody) -> tuple[float, float]:
    """How long the low stretches are that body_heights takes for spurs, at the anterior and at the posterior wall."""
    _, _, (anterior, posterior) = _band(body.height_map, body.column_mm, segmented(body))
    return anterior * body.column_mm, posterior * body.column_mm


def relative_height_loss(original: Heights, healthy: Heights) -> Heights:
    """RHLV per third and mean, signed fractions: (healthy - original) / healthy. Negative: taller than predicted."""
    return Heights(*((getattr(healthy, k) - getattr(original, k)) / getattr(healthy, k) for k in HEIGHT_KEYS))


def gap_height_map(body: FloatArray, row_mm: float, stretch: FloatArray | float = 1.0) -> FloatArray:
    """(AP, LR) column heights in mm of a generated body (SI, AP, LR) 0..1 whose rows are row_mm high on the centreline,
    and stretch times that in each column; NaN off the body."""
    first, last = plate_rows(body)
    return (last - first) * row_mm * stretch


def generated_row_mm(vertebra: PseudoHealthy, column_mm: float) -> float:
    """Height of one gap row in mm: what makes the drawn body's mean height the predicted one."""
    heights = gap_height_map(vertebra.body, 1.0, vertebra.stretch)
    return vertebra.height_mm / third_heights(heights, column_mm, GENERATED).mean


def height_loss_map(original: FloatArray, healthy: FloatArray, column_mm: float) -> FloatArray:
    """Signed RHLV on the healthy body's columns, NaN where either body has its rim or an osteophyte. Both maps (AP, LR)
    in mm, NaN off the body; what is left of the footprints is laid on each other by the bounding boxes, since the
    collapsed body may be wider or lie elsewhere in its frame."""
    original_whole, healthy_whole = (_without_low_rim(height_map, column_mm) for height_map in (original, healthy))
    rows, columns = np.nonzero(healthy_whole)
    onto = np.stack(
        [_rescaled(rows, healthy_whole, original_whole, 1), _rescaled(columns, healthy_whole, original_whole, 0)]
    )
    weight = ndimage.map_coordinates(original_whole.astype(float), onto, order=1, cval=0.0)
    value = ndimage.map_coordinates(np.where(original_whole, original, 0.0), onto, order=1, cval=0.0)
    loss = np.full(healthy.shape, np.nan)
    seen = weight > 0.5
    here = rows[seen], columns[seen]
    loss[here] = 1.0 - value[seen] / weight[seen] / healthy[here]
    return loss


def _without_low_rim(height_map: FloatArray, column_mm: float) -> NDArray[np.bool_]:
    """The columns of a body but for those of a rounded rim or a spur: reached from outside over columns that are much
    lower than the tallest around them."""
    reach = max(1, round(EXACT.behind_mm / column_mm))
    across = np.arange(-reach, reach + 1)
    disc = across[:, None] ** 2 + across**2 <= reach**2
    outside = ~np.isfinite(height_map)
    heights = np.where(outside, 0.0, height_map)
    low = heights < SPUR_SHARE * ndimage.maximum_filter(heights, footprint=disc)
    return ~ndimage.binary_propagation(outside, mask=low | outside)


def without_rim(loss_map: FloatArray) -> FloatArray:
    """A loss map (AP, LR) as it is shown: NaN along the walls, where the thirds do not look either: the segmentation
    rounds the scan's body there."""
    seen = np.isfinite(loss_map)
    depth = int(seen.any(axis=1).sum())
    inward = ndimage.distance_transform_edt(np.pad(seen, 1))[1:-1, 1:-1]
    return np.where(inward > max(1, round(RIM_OF_DEPTH * depth)), loss_map, np.nan)


def _rescaled(index: NDArray, of: NDArray[np.bool_], to: NDArray[np.bool_], across: int) -> FloatArray:
    """Positions along one axis of the footprint `of`, moved to where they lie in the footprint `to`."""
    a, b = (np.flatnonzero(footprint.any(axis=across))[[0, -1]] for footprint in (of, to))
    return b[0] + (index - a[0]) * (b[1] - b[0]) / max(a[1] - a[0], 1)


def six_point(ap_mm: FloatArray, heights: FloatArray) -> dict[str, float]:
    """Anterior, middle and posterior height in mm as read from six points on a mid-sagittal picture.

    ap_mm, heights: (N,) of mid_sagittal_profile. Each height is the mean of 3 mm around its point: beside the rims
    (15 % of the depth from either wall) and at half depth.
    """
    depth = ap_mm[-1] + ap_mm[0]
    points = {"anterior": 0.15 * depth, "middle": 0.5 * depth, "posterior": 0.85 * depth}
    return {name: float(heights[np.abs(ap_mm - at) <= 1.5].mean()) for name, at in points.items()}


def hollowness(body: VertebralBody) -> float:
    """By what fraction a body is lower in its middle than at the higher of its rims (six_point), whatever the other
    levels are like."""
    heights = six_point(*body_profile(body))
    return 1.0 - heights["middle"] / max(heights["anterior"], heights["posterior"])


def published_rhlv(original: np.ndarray, healthy: np.ndarray, spacing_mm: float) -> dict[str, float]:
    """RHLV by the publication's formula (HealthiVert-GAN, evaluation/RHLV_quantification), kept for comparison only.

    Binary bodies (SI, AP, LR) on one straightened grid. Column heights are voxel counts over the central two fifths
    of the sagittal slices; per region the healthy heights are scaled up to the original's maximum; columns below 0.7
    of the column at the mask's centre are dropped. It hides a synthesis that is too low and drops collapsed columns.
    Keys anterior, middle, posterior, mean; NaN where a region of the healthy body is empty.
    """
    lr = np.flatnonzero(original.any(axis=(0, 1)))
    if lr.size == 0:
        return dict.fromkeys(HEIGHT_KEYS, float("nan"))
    centre = int(np.argwhere(original)[:, 2].mean())
    reach = (lr[-1] - lr[0]) // 5
    kept: dict[str, tuple[list[FloatArray], list[FloatArray]]] = {key: ([], []) for key in HEIGHT_KEYS}
    for column in range(centre - reach, centre + reach):
        old, new = original[:, :, column], healthy[:, :, column]
        if not old.any() or not new.any():
            continue
        ap = np.flatnonzero(new.any(axis=0))
        first, end = ap[0], ap[-1]
        t1, t2 = int(first + (end - first) / 3), int(first + 2 * (end - first) / 3)
        regions = {
            "anterior": slice(0, t1),
            "middle": slice(t1, t2),
            "posterior": slice(t2, end + 1),
            "mean": slice(0, end + 1),
        }
        counts = [m.sum(axis=0) * spacing_mm for m in (old, new)]
        middles = [float(c[int(np.argwhere(m)[:, 1].mean())]) for c, m in zip(counts, (old, new), strict=True)]
        whole = _published_scale(counts[0], counts[1])
        for key, region in regions.items():
            scaled = counts[1][region] * _published_scale(counts[0][region], counts[1][region])
            kept[key][0].append(counts[0][region][counts[0][region] > 0.7 * middles[0]])
            kept[key][1].append(scaled[scaled > 0.7 * middles[1] * whole])
    return {key: _published_ratio(*columns) for key, columns in kept.items()}


def _published_scale(old: FloatArray, new: FloatArray) -> float:
    largest_old, largest_new = old.max(initial=0.0), new.max(initial=0.0)
    return largest_old / (largest_new + 1e-6) if largest_old > largest_new else 1.0


def _published_ratio(old: list[FloatArray], new: list[FloatArray]) -> float:
    a = np.concatenate(old) if old else np.zeros(0)
    b = np.concatenate(new) if new else np.zeros(0)
    if b.size == 0:
        return float("nan")
    mean_old = a.mean() if a.size else 0.0
    return float((b.mean() - mean_old) / (b.mean() + 1e-6))
