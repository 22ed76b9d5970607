"""A vertebra segmentation as people have it -> one label image with our level numbers.

In: a label image (NIfTI, NRRD, MetaImage), a Slicer .seg.nrrd (names, terminology, layers) or a folder with one file
per structure. Out: Segmentation, on the segmentation's own grid in LPS orientation. Raises HealthiVertError if it
holds no vertebra, or if it cannot be said which one a label is. Slicer's fields: Segment{N}_Name, _LabelValue, _Layer
and _Tags of the Slicer documentation, "Segmentation file format".
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from healthivert import labels
from healthivert.anatomy import LEVEL_NUMBER
from healthivert.errors import HealthiVertError, complaint
from healthivert.geometry import labelled_box
from healthivert.image_files import blamed_on_orientation, read_image, stem_of, suffix_of
from healthivert.labels import SACRUM_NAME, LabelProfile
from healthivert.nifti import read_nifti_header
from healthivert.orientation import orientation_of, oriented
from healthivert.threads import two_at_a_time

LARGEST_LABEL = 65535
MOST_LABELS = 300  # a whole-body segmentation has about 120 structures; a CT has thousands of values
WHOLE_NUMBER_TOLERANCE = 1e-3
LONGEST_BREAK_MM = 3.0  # of empty slices within one vertebra: drawn on every second one, or one forgotten
SECOND_PIECE_SHARE = 0.25  # of the larger piece: below it, it is a stray bit of the same vertebra

Description = tuple[str, str, int, int]  # name, tags with terminology, layer, value in the layer


@dataclass(frozen=True)
class Segmentation:
    """image: uint8 level numbers, LPS. label_values: level -> the value the user's file has for it.

    orientation: the axes of the file's own grid.
    """

    image: sitk.Image
    orientation: str
    label_values: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Segment:
    """One structure of the file: the value it has in its layer, and its level."""

    layer: int
    value: int
    level: str


def read_segmentation(path: Path, level_map: Mapping[int, str] | None = None) -> Segmentation:
    """Read a segmentation; level_map (value -> level name) overrides what the file says of itself."""
    if path.is_dir():
        if level_map is not None:
            raise complaint(
                path, "--level-map is for the values of a label image, this is a folder of files with names", "drop it"
            )
        return _read_structures(path)
    image, warnings = read_image(path, layered=True)
    orientation = orientation_of(image)
    described = _slicer_segments(image) or _label_table(path)
    layers = _layers(image)
    del image  # the layers may be copies, and a whole-body mask is large
    profiles = [value_profiles(layer, path) for layer in layers]
    if not any(profiles):
        raise complaint(
            path, "the mask is empty (every voxel is 0)", "segment the vertebrae again or give another file"
        )
    with blamed_on_orientation(warnings):
        segments, more = _segments(path, described, profiles, level_map)
    left_out = _left_out(segments, profiles, path)
    more += left_out
    names = ", ".join(f"value {s.value} is {s.level}" for s in segments if s.level == SACRUM_NAME)
    segments = [s for s in segments if s.level != SACRUM_NAME and profiles[s.layer][s.value].stacked_pieces == 1]
    if not segments:
        found = names or "; ".join(left_out) or "none of its labels is a vertebra"
        raise complaint(path, f"the mask has no usable vertebra ({found})", "segment the vertebrae or pass --level-map")
    return Segmentation(_numbered(layers, segments), orientation, _users_values(segments), (*warnings, *more))


def _layers(image: sitk.Image) -> list[sitk.Image]:
    count = image.GetNumberOfComponentsPerPixel()
    single = [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, i) for i in range(count)]
    return [oriented(layer, "LPS") for layer in single]


def value_profiles(image: sitk.Image, path: Path) -> dict[int, LabelProfile]:
    """Value -> where it lies, for every value of an LPS label image but 0.

    Raises HealthiVertError for negative, fractional or too many values. Slice by slice, so that a float mask of a whole
    body is never copied as a whole.
    """
    rows: dict[int, dict[int, int]] = defaultdict(dict)
    for index, plane in enumerate(sitk.GetArrayViewFromImage(image)):
        numbers = _whole_numbers(plane, path)
        counts = np.bincount(numbers[numbers > 0])  # nearly all of a plane is 0
        for value in np.flatnonzero(counts):
            rows[int(value)][index] = int(counts[value])
        if len(rows) > MOST_LABELS:
            raise complaint(
                path,
                f"the mask has more than {MOST_LABELS} different values and looks like a CT",
                "give CT first, then the mask",
            )
    spacing = image.GetSpacing()
    voxel_ml = float(np.prod(spacing)) / 1000
    return {value: _profile(planes, spacing[2], voxel_ml) for value, planes in rows.items()}


def _whole_numbers(plane: NDArray, path: Path) -> NDArray:
    if plane.dtype.kind == "f":
        rounded = np.rint(plane)
        if not np.isfinite(plane).all() or np.abs(plane - rounded).max() > WHOLE_NUMBER_TOLERANCE:
            raise complaint(
                path,
                "the mask has values that are not whole numbers",
                "give a label image, not a CT or a probability map",
            )
        plane = rounded
    if plane.min() < 0 or plane.max() > LARGEST_LABEL:
        raise complaint(
            path,
            f"the mask has values from {plane.min():g} to {plane.max():g} and looks like a CT",
            "give CT first, then the mask",
        )
    return plane if plane.dtype.kind == "u" and plane.dtype.itemsize < 8 else plane.astype(np.int32)


def _profile(planes: Mapping[int, int], step_mm: float, voxel_ml: float) -> LabelProfile:
    """planes: voxels by slice index. A piece is a run of slices, with LONGEST_BREAK_MM of empty ones at most."""
    index = np.array(sorted(planes))
    count = np.array([planes[i] for i in index], dtype=float)
    breaks = np.flatnonzero((np.diff(index) - 1) * step_mm > LONGEST_BREAK_MM) + 1
    pieces = [piece.sum() for piece in np.split(count, breaks)]
    large = sum(piece >= SECOND_PIECE_SHARE * max(pieces) for piece in pieces)
    return LabelProfile(float(index @ count / count.sum()) * step_mm, float(count.sum()) * voxel_ml, large)


def _segments(
    path: Path,
    described: list[Description],
    profiles: list[dict[int, LabelProfile]],
    level_map: Mapping[int, str] | None,
) -> tuple[list[_Segment], list[str]]:
    """Which structure is which level: by the given map, else by what the file says, else by the numbers."""
    if level_map is None:
        named, warnings = _named_segments(path, described, profiles)
        if named:
            return named, warnings
    if len(profiles) > 1:
        raise complaint(
            path, "its segments overlap and none is named after a vertebra", "name the segments L1, L2, ... in Slicer"
        )
    if level_map is not None:
        return _segments_of_map(path, profiles[0], level_map)
    meaning = labels.recognise_values(profiles[0], str(path))
    return [_Segment(0, value, level) for value, level in meaning.levels.items()], meaning.warnings


def _segments_of_map(
    path: Path, profile: Mapping[int, LabelProfile], level_map: Mapping[int, str]
) -> tuple[list[_Segment], list[str]]:
    segments, warnings = [], []
    for value, name in level_map.items():
        level = labels.level_of_name(name)
        if level is None:
            raise HealthiVertError(
                f"the level map gives value {value} the level '{name}', which is no vertebra; write it like 20=L1"
            )
        if value in profile:
            segments.append(_Segment(0, value, level))
        else:
            warnings.append(f"{path.name}: the level map's value {value} ({level}) is not in the mask")
    if not segments:
        there = ", ".join(map(str, sorted(profile)[:12]))
        raise complaint(
            path, f"none of the level map's values is in the mask, which has {there}", "map the values that are there"
        )
    twice = [level for level, count in Counter(s.level for s in segments).items() if count > 1]
    return segments, warnings + [
        f"{path.name}: several values are mapped to {level} and were joined" for level in twice
    ]


def _named_segments(
    path: Path, described: list[Description], profiles: list[dict[int, LabelProfile]]
) -> tuple[list[_Segment], list[str]]:
    """The vertebrae among the described structures that are in the image."""
    found: dict[str, tuple[str, _Segment]] = {}
    others, warnings = [], []
    for name, tags, layer, value in described:
        level = labels.level_of_name(name)
        coded = next((labels.SNOMED[code] for code in re.findall(r"\^(\d+)\^", tags) if code in labels.SNOMED), None)
        if level and coded and level != coded:
            warnings.append(f"{path.name}: the segment {name} has the terminology of {coded}; its name was believed")
        level = level or coded
        if layer >= len(profiles) or value not in profiles[layer]:
            continue
        if level is None:
            others.append(name)
        elif level in found and level != SACRUM_NAME:
            raise complaint(
                path, f"the segments '{found[level][0]}' and '{name}' are both {level}", "rename or remove one of them"
            )
        else:
            found[level] = name, _Segment(layer, value, level)
    if others and found:
        more = "" if len(others) <= 3 else f" and {len(others) - 3} more"
        warnings.append(f"{path.name}: left out, as not vertebrae: {', '.join(others[:3])}{more}")
    return [segment for _, segment in found.values()], warnings


def _slicer_segments(image: sitk.Image) -> list[Description]:
    """Each segment of a .seg.nrrd; files before Slicer 4.11 have one layer each."""
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    numbers = sorted(int(found[1]) for key in fields if (found := re.fullmatch(r"Segment(\d+)_Name", key)))
    return [
        (
            fields[f"Segment{n}_Name"],
            fields.get(f"Segment{n}_Tags", ""),
            int(fields.get(f"Segment{n}_Layer", n if image.GetNumberOfComponentsPerPixel() > 1 else 0)),
            int(fields.get(f"Segment{n}_LabelValue", 1)),
        )
        for n in numbers
    ]


def _label_table(path: Path) -> list[Description]:
    """The same from the label table in a NIfTI header extension, as TotalSegmentator writes it."""
    if not suffix_of(path).startswith(".nii"):
        return []
    text = read_nifti_header(path).extension.decode("utf-8", "replace")
    entries = re.findall(r'<Label\b[^>]*\bKey="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]*)', text)
    return [(name.strip(), "", 0, int(value)) for value, name in entries]


def _left_out(segments: list[_Segment], profiles: list[dict[int, LabelProfile]], path: Path) -> list[str]:
    """Labels that lie in two places of the spine: which one is the level cannot be known."""
    words = []
    for segment in segments:
        places = profiles[segment.layer][segment.value].stacked_pieces
        if segment.level != SACRUM_NAME and places > 1:
            words.append(
                f"{path.name}: value {segment.value} ({segment.level}) lies in {places} separate places along "
                f"the spine, as if vertebrae shared a label; {segment.level} was left out: correct the mask to use it"
            )
    return words


def _numbered(layers: list[sitk.Image], segments: list[_Segment]) -> sitk.Image:
    """uint8 image of our level numbers."""
    numbers = np.zeros(sitk.GetArrayViewFromImage(layers[0]).shape, np.uint8)
    for number, layer in enumerate(layers):
        array = sitk.GetArrayViewFromImage(layer)
        box = labelled_box(array)
        table = np.zeros(LARGEST_LABEL + 1, np.uint8)
        for segment in segments:
            if segment.layer == number:
                table[segment.value] = LEVEL_NUMBER[segment.level]
        for plane, out in zip(array[box], numbers[box], strict=True):
            index = np.rint(plane).astype(np.int32) if plane.dtype.kind == "f" else plane
            np.maximum(out, table[index], out=out)
    image = sitk.GetImageFromArray(numbers)
    image.CopyInformation(layers[0])
    return image


def _users_values(segments: list[_Segment]) -> dict[str, int]:
    """Level -> value. Segments of different layers may share a value; then the results carry our level numbers."""
    values: dict[str, int] = {}
    for segment in segments:
        values.setdefault(segment.level, segment.value)
    if len(set(values.values())) < len(values):
        return {level: LEVEL_NUMBER[level] for level in values}
    return values


def _read_structures(folder: Path) -> Segmentation:
    """A folder with one file per structure (vertebrae_L1.nii.gz, ...), as TotalSegmentator writes by default."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        level = labels.level_of_name(stem_of(file)) if suffix_of(file) else None
        if level in files:
            raise complaint(
                folder, f"the files {files[level].name} and {file.name} are both {level}", "remove one of them"
            )
        if level and level != SACRUM_NAME:
            files[level] = file
    if not files:
        raise complaint(
            folder,
            "the folder has no vertebra files such as vertebrae_L1.nii.gz",
            "give a label image or such a folder",
        )
    found = two_at_a_time(lambda item: _read_structure(*item), files.items())
    structures = [structure for structure in found if structure is not None]
    warnings = [words for structure in structures for words in structure.warnings]
    usable = [structure for structure in structures if not structure.left_out]
    if not usable:
        raise complaint(folder, "every vertebra file in the folder is empty", "give a scan that shows vertebrae")
    first = usable[0]
    numbers = np.zeros(first.size[::-1], np.uint8)
    for one in usable:
        if one.size != first.size or not _same_axes(one.corner, first.corner):
            raise complaint(
                files[one.level],
                "the file has another grid than the other structures in its folder",
                "export all of them on one grid",
            )
        part = numbers[one.box]
        np.maximum(part, np.uint8(LEVEL_NUMBER[one.level]) * one.inside, out=part)
    image = sitk.GetImageFromArray(numbers)
    image.SetOrigin(first.corner.GetOrigin())
    image.SetSpacing(first.corner.GetSpacing())
    image.SetDirection(first.corner.GetDirection())
    values = {one.level: LEVEL_NUMBER[one.level] for one in usable}
    return Segmentation(image, first.orientation, values, tuple(warnings))


def _same_axes(one: sitk.Image, other: sitk.Image) -> bool:
    return (
        np.allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-2)
        and np.allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-3)
        and np.allclose(one.GetDirection(), other.GetDirection(), atol=1e-3)
    )


class _Structure(NamedTuple):
    """A structure's own file. size (i, j, k) and corner, an image of its first voxel, say which LPS grid it lies on,
    orientation the file's own axes. inside: where it is in its box. left_out: it lies in two places, see warnings."""

    level: str
    orientation: str
    size: tuple[int, ...]
    corner: sitk.Image
    box: tuple[slice, slice, slice]
    inside: NDArray[np.bool_]
    left_out: bool
    warnings: tuple[str, ...]


def _read_structure(level: str, file: Path) -> _Structure | None:
    """None of an empty file: TotalSegmentator writes one for each structure that is not in the scan."""
    image, warnings = read_image(file)
    orientation = orientation_of(image)
    (image,) = _layers(image)
    profiles = value_profiles(image, file)
    if not profiles:
        return None
    left_out = _left_out([_Segment(0, next(iter(profiles)), level)], [profiles], file)
    array = sitk.GetArrayViewFromImage(image)
    box = labelled_box(array)
    told = (*warnings, *left_out)
    return _Structure(level, orientation, image.GetSize(), image[:1, :1, :1], box, array[box] > 0, bool(left_out), told)
