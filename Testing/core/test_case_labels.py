"""Whatever a segmentation calls its vertebrae, the right level comes out, or the user is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_files import (
    SHAPE,
    STEP_ROWS,
    as_image,
    lumbar_hu,
    lumbar_numbers,
    write,
    write_case,
    write_slicer_segmentation,
)

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.case import load_case, load_labels
from healthivert.errors import HealthiVertError
from healthivert.labels import LabelProfile, level_of_name, oddities, parse_level, recognise_values
from healthivert.segmentation import read_segmentation
from healthivert.types import SpineCase

LUMBAR = ("L1", "L2", "L3", "L4", "L5")
TOTALSEGMENTATOR_LUMBAR = (31, 30, 29, 28, 27)  # from the top


def load(folder: Path, seg: Path, **more: object) -> SpineCase:
    return load_case(write(lumbar_hu(), folder / "the_ct.nrrd"), seg, **more)  # type: ignore[arg-type]


def at_level(case: SpineCase, index: int) -> int:
    """Our number in the index-th vertebra from the top of the test scan."""
    return int(sitk.GetArrayViewFromImage(case.labels)[SHAPE[0] - 4 - STEP_ROWS * index, 28, 20])


def stacked(values: list[int], step_mm: float = 30.0, volume_ml: float = 30.0) -> dict[int, LabelProfile]:
    """Profiles of values that lie below each other, the first one on top."""
    return {value: LabelProfile(-step_mm * index, volume_ml) for index, value in enumerate(values)}


def seen(values: list[int], **more: float) -> list[str]:
    return [level for _, level in sorted(recognise_values(stacked(values, **more), "seg").levels.items())]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        *[
            (text, "L1")
            for text in ("l1", "L1", " L 1 ", "L01", "vertebrae_L1", "L1 vertebra", "L1_vertebra_body", "LWK1")
        ],
        *[
            (text, "L1")
            for text in ("first lumbar vertebra", "First lumbar vertebra (L1)", "Lumbar 1", "1st lumbar vertebra")
        ],
        *[(text, "T12") for text in ("T12", "Th12", "th-12", "D12", "BWK 12", "twelfth thoracic vertebra")],
        *[(text, "L1") for text in ("vert_L1", "VertebraL1", "vertebrae_L1.nii.gz", "L1 fracture", "L1 (fractured)")],
        ("C7", "C7"),
        ("T13", "T13"),
        ("L6", "L6"),
        ("vertebrae_S1", "sacrum"),
        ("Sacrum", "sacrum"),
    ],
)
def test_a_level_is_known_by_its_names(text: str, level: str) -> None:
    assert level_of_name(text) == level


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Q9",
        "L7",
        "C8",
        "T14",
        "L1-L2",
        "disc L1",
        "rib_left_1",
        "kidney left",
        "L",
        "12",
        "L1 2",
        "S2",
        "TL1",
        "discL1",
    ],
)
def test_other_names_are_no_level(text: str) -> None:
    assert level_of_name(text) is None


def test_the_user_may_ask_for_a_level_in_any_spelling(tmp_path: Path) -> None:
    case = load_case(*write_case(tmp_path))
    assert [parse_level(text, case) for text in ("l1", "LWK 2", "vertebrae_L3")] == ["L1", "L2", "L3"]


@pytest.mark.parametrize("text", ["T5", "Q9", "", "sacrum", "T12"])
def test_a_level_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, text: str) -> None:
    case = load_case(*write_case(tmp_path))
    with pytest.raises(HealthiVertError, match="L1, L2, L3, L4, L5: give one of them"):
        parse_level(text, case)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([20, 21, 22, 23, 24], LUMBAR),
        ([22], ("L3",)),
        ([18, 19, 28, 20, 21], ("T11", "T12", "L1", "L2", "T13")),
        ([23, 24, 25, 26], ("L4", "L5", "L6", "sacrum")),
        ([31, 30, 29, 28, 27], ("L5", "L4", "L3", "L2", "L1")),
        ([34, 33, 32], ("T12", "T11", "T10")),
        ([30], ("L2",)),
        ([22, 21, 20, 19, 18], ("L5", "L4", "L3", "L2", "L1")),
    ],
)
def test_numbers_are_recognised_by_the_order_in_which_they_lie(values: list[int], levels: tuple[str, ...]) -> None:
    assert tuple(seen(values)) == levels


@pytest.mark.parametrize(
    ("values", "speck", "place"), [([20, 21, 22, 23, 24], 12, -300.0), ([27, 28, 29, 30, 31][::-1], 25, 300.0)]
)
def test_a_speck_of_another_number_does_not_exchange_the_levels(values, speck, place) -> None:
    """T5 below L5, or the sacrum above L1, of a few voxels, as automatic segmentations leave them."""
    profiles = stacked(values)
    levels = recognise_values(profiles, "seg").levels
    found = recognise_values({**profiles, speck: LabelProfile(place, 0.01)}, "seg").levels
    assert {value: found[value] for value in values} == levels


def test_a_number_that_the_first_and_the_last_level_share_does_not_exchange_the_others() -> None:
    profiles = stacked([20, 21, 22, 23, 24, 25]) | {20: LabelProfile(-75.0, 60.0, stacked_pieces=2)}
    assert list(recognise_values(profiles, "seg").levels.values()) == ["L1", "L2", "L3", "L4", "L5", "L6"]


def test_every_spine_in_every_convention_is_recognised() -> None:
    assert seen(list(range(8, 25)))[0] == "T1"
    assert seen(list(range(1, 27)), volume_ml=15.0)[:2] == ["C1", "C2"]
    assert seen(list(range(50, 25, -1)), volume_ml=15.0)[:2] == ["sacrum", "L5"]


def test_a_whole_body_segmentation_is_recognised_among_its_organs() -> None:
    profiles = stacked([43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25])
    heights = np.random.default_rng(1).permutation(117)
    profiles = {v: LabelProfile(-5.0 * heights[v - 1], 300.0) for v in range(1, 118) if not 44 <= v <= 50} | profiles
    meaning = recognise_values(profiles, "seg")
    assert meaning.levels[43] == "T1"
    assert meaning.levels[27] == "L5"
    assert not meaning.warnings


@pytest.mark.parametrize("values", [[28], [28, 27], [28, 27, 26], [25, 26]])
def test_numbers_that_mean_two_things_are_asked_for(values: list[int]) -> None:
    with pytest.raises(HealthiVertError, match="--level-map"):
        recognise_values(stacked(values), "seg")


def test_lumbar_vertebrae_numbered_from_one_are_not_taken_for_the_neck() -> None:
    with pytest.raises(HealthiVertError, match="too large"):
        recognise_values(stacked([1, 2, 3, 4, 5], volume_ml=60.0), "seg")


def test_numbers_in_no_order_are_asked_for() -> None:
    with pytest.raises(HealthiVertError, match="fit neither"):
        recognise_values(stacked([20, 22, 21, 24, 23]), "seg")


def test_exchanged_labels_are_named_and_no_single_label_is_believed_instead() -> None:
    exchanged = [19, 28, 20, 22, 21, 23]  # 28 is T13 in VerSe's numbers, and L4 in TotalSegmentator's
    with pytest.raises(
        HealthiVertError, match=r"as VerSe's, 1 of 5 neighbours lie in the wrong order: are labels exch"
    ):
        recognise_values(stacked(exchanged), "seg")


def test_unknown_values_are_left_out_and_said() -> None:
    assert "200" in recognise_values(stacked([20, 21, 22, 200]), "seg").warnings[0]


def test_totalsegmentator_numbers_are_read_from_a_file(tmp_path: Path) -> None:
    numbers = lumbar_numbers(TOTALSEGMENTATOR_LUMBAR)
    numbers[40:44, 6:10, 5:9] = 5  # a liver
    case = load(tmp_path, write(numbers, tmp_path / "total.nii.gz"))
    assert case.levels == LUMBAR
    assert case.label_values["L1"] == 31
    assert [at_level(case, i) for i in range(5)] == [20, 21, 22, 23, 24]


def test_a_level_map_overrides_what_the_numbers_seem_to_say(tmp_path: Path) -> None:
    seg = write(lumbar_numbers(), tmp_path / "seg.nrrd")
    case = load(tmp_path, seg, level_map={20: "T12", 21: "l1", 24: "sacrum"})
    assert case.levels == ("T12", "L1")
    assert at_level(case, 0) == LEVEL_NUMBER["T12"]
    assert at_level(case, 4) == 0


def test_values_mapped_to_one_level_are_joined_and_said(tmp_path: Path) -> None:
    seg = write(lumbar_numbers((1, 2, 4, 5, 6)), tmp_path / "seg.nrrd")
    case = load(tmp_path, seg, level_map={1: "L1", 2: "L1"})
    assert [at_level(case, 0), at_level(case, 1)] == [20, 20]
    assert any("joined" in words for words in case.warnings)


@pytest.mark.parametrize(
    ("level_map", "words"), [({20: "Q9"}, "no vertebra"), ({77: "L1"}, "none of the level map's values")]
)
def test_a_wrong_level_map_is_refused(tmp_path: Path, level_map: dict[int, str], words: str) -> None:
    with pytest.raises(HealthiVertError, match=words):
        load(tmp_path, write(lumbar_numbers(), tmp_path / "seg.nrrd"), level_map=level_map)


def test_float_masks_that_hold_whole_numbers_are_fine(tmp_path: Path) -> None:
    case = load(tmp_path, write(lumbar_numbers().astype(np.float64), tmp_path / "seg.nii.gz"))
    assert case.levels == LUMBAR


def test_a_value_that_lies_in_two_places_is_left_out_and_said(tmp_path: Path) -> None:
    seg = write(lumbar_numbers((20, 21, 22, 21, 24)), tmp_path / "seg.nrrd")
    case = load(tmp_path, seg, level_map={20: "L1", 21: "L2", 22: "L3", 24: "L5"})
    assert case.levels == ("L1", "L3", "L5")
    assert at_level(case, 1) == 0
    assert any("value 21 (L2) lies in 2 separate places" in words for words in case.warnings)


def test_missing_and_extra_levels_are_said() -> None:
    assert "T13" in oddities(["T12", "T13", "L1"])[0]
    assert "L6" in oddities(["L5", "L6"])[0]
    assert "lacks T11, T12 between T10 and L1" in oddities(["T10", "L1"])[0]
    assert not oddities(["T12", "L1", "L2"])


def test_a_gap_in_the_levels_reaches_the_case(tmp_path: Path) -> None:
    case = load(tmp_path, write(lumbar_numbers((18, 19, 21, 22, 24)), tmp_path / "seg.nrrd"))
    assert any("lacks L1, L4" in words for words in case.warnings)


def test_a_speck_of_another_number_is_no_end_of_the_spine(tmp_path: Path) -> None:
    numbers = lumbar_numbers()
    numbers[0, 0, 0] = 12  # T5
    case = load(tmp_path, write(numbers, tmp_path / "seg.nrrd"))
    assert not any("lacks" in words for words in case.warnings)
    assert not any("lacks" in words for words in load_labels(tmp_path / "seg.nrrd").warnings)


def test_a_folder_with_a_file_per_structure_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "segmentations"
    for level, value in zip(LUMBAR, range(20, 25), strict=True):
        write((lumbar_numbers() == value).astype(np.uint8), folder / f"vertebrae_{level}.nii.gz")
    write(lumbar_numbers() * 0, folder / "vertebrae_T12.nii.gz")
    write(lumbar_numbers(), folder / "liver.nii.gz")
    case = load(tmp_path, folder)
    assert case.levels == LUMBAR
    assert np.array_equal(sitk.GetArrayViewFromImage(case.labels), lumbar_numbers())
    assert case.label_values["L3"] == LEVEL_NUMBER["L3"]


def test_two_files_for_one_level_are_refused(tmp_path: Path) -> None:
    for name in ("vertebrae_L1.nii.gz", "L1.nrrd"):
        write((lumbar_numbers() == 20).astype(np.uint8), tmp_path / "both" / name)
    with pytest.raises(HealthiVertError, match="are both L1"):
        read_segmentation(tmp_path / "both")


def test_slicer_segments_are_read_by_name(tmp_path: Path) -> None:
    names = ("L1", "L2 vertebra", "vertebrae_L3", "Fourth lumbar vertebra", "spinal cord")
    segments = [{"Name": name, "LabelValue": str(i + 1), "Layer": "0"} for i, name in enumerate(names)]
    seg = write_slicer_segmentation(tmp_path / "spine.seg.nrrd", [lumbar_numbers((1, 2, 3, 4, 5))], segments)
    case = load(tmp_path, seg)
    assert case.levels == LUMBAR[:4]
    assert case.label_values == {"L1": 1, "L2": 2, "L3": 3, "L4": 4}
    assert [at_level(case, i) for i in range(5)] == [20, 21, 22, 23, 0]
    assert any("spinal cord" in words for words in case.warnings)


def test_slicer_segments_are_read_by_terminology(tmp_path: Path) -> None:
    """The string is what Slicer writes for a vertebra of its TotalSegmentator extension."""
    entry = "TerminologyEntry:list~SCT^123037004^Anatomical Structure~SCT^{code}^vertebra~^^~Anatomic codes~^^~^^|"
    segments = [
        {"Name": f"Segment_{i + 1}", "LabelValue": str(i + 1), "Layer": "0", "Tags": entry.format(code=code)}
        for i, code in enumerate(("23215003", "66794005", "14293000", "36470004", "11994002"))
    ]
    seg = write_slicer_segmentation(tmp_path / "spine.seg.nrrd", [lumbar_numbers((1, 2, 3, 4, 5))], segments)
    assert load(tmp_path, seg).levels == ("T12", "L1", "L2", "L3", "L4")


def test_overlapping_slicer_segments_are_read_from_their_layers(tmp_path: Path) -> None:
    whole = lumbar_numbers()
    layers = [np.where(whole == value, 1, 0).astype(np.uint8) for value in (20, 21)]
    segments = [{"Name": level, "LabelValue": "1", "Layer": str(i)} for i, level in enumerate(("L1", "L2"))]
    case = load(tmp_path, write_slicer_segmentation(tmp_path / "two.seg.nrrd", layers, segments))
    assert [at_level(case, i) for i in range(3)] == [20, 21, 0]
    assert case.label_values == {"L1": 20, "L2": 21}, "one value for both would not tell them apart"


def test_two_slicer_segments_of_one_level_are_refused(tmp_path: Path) -> None:
    segments = [{"Name": name, "LabelValue": str(i + 1), "Layer": "0"} for i, name in enumerate(("L1", "L1 vertebra"))]
    seg = write_slicer_segmentation(tmp_path / "twice.seg.nrrd", [lumbar_numbers((1, 2, 0, 0, 0))], segments)
    with pytest.raises(HealthiVertError, match="'L1' and 'L1 vertebra' are both L1"):
        read_segmentation(seg)


def test_a_name_is_believed_against_a_contradicting_terminology(tmp_path: Path) -> None:
    segments = [{"Name": "L1", "LabelValue": "1", "Layer": "0", "Tags": "T:~SCT^123037004^A~SCT^36470004^L3~^^|"}]
    seg = write_slicer_segmentation(tmp_path / "odd.seg.nrrd", [lumbar_numbers((1, 0, 0, 0, 0))], segments)
    case = load(tmp_path, seg)
    assert case.levels == ("L1",)
    assert any("terminology of L3" in words for words in case.warnings)


def test_unnamed_slicer_segments_are_recognised_by_their_numbers(tmp_path: Path) -> None:
    segments = [{"Name": f"Segment_{v}", "LabelValue": str(v), "Layer": "0"} for v in range(20, 25)]
    seg = write_slicer_segmentation(tmp_path / "plain.seg.nrrd", [lumbar_numbers()], segments)
    assert load(tmp_path, seg).levels == LUMBAR


def test_names_in_a_nifti_header_are_read(tmp_path: Path) -> None:
    """TotalSegmentator writes a label table into the header extension."""
    names = {1: "vertebrae_L1", 2: "vertebrae_L2", 3: "vertebrae_L3", 4: "vertebrae_L4", 5: "liver"}
    labels = "".join(f'<Label Key="{v}" Red="1" Alpha="1"><![CDATA[{name}]]></Label>' for v, name in names.items())
    table = f"<CaretExtension><VolumeInformation><LabelTable>{labels}</LabelTable></VolumeInformation></CaretExtension>"
    plain = write(as_image(lumbar_numbers((1, 2, 3, 4, 5))), tmp_path / "seg.nii")
    head, voxels = bytearray(plain.read_bytes()[:348]), plain.read_bytes()[352:]
    size = -(-(len(table) + 8) // 16) * 16
    head[108:112] = np.float32(352 + size).tobytes()
    extension = np.int32([size, 0]).tobytes() + table.encode().ljust(size - 8, b"\0")
    plain.write_bytes(bytes(head) + b"\1\0\0\0" + extension + voxels)
    assert load(tmp_path, plain).levels == LUMBAR[:4]


def with_empty_slices(*rows: int) -> np.ndarray:
    labels = lumbar_numbers()
    labels[list(rows)] = 0
    return labels


def test_a_slice_that_was_forgotten_parts_no_vertebra(tmp_path: Path) -> None:
    """One of 2.5 mm is empty in the middle of L3."""
    middle = SHAPE[0] - 1 - STEP_ROWS * 2 - 5
    case = load(tmp_path, write(with_empty_slices(middle), tmp_path / "seg.nrrd"))
    assert case.levels == LUMBAR
    assert not any("separate places" in words for words in case.warnings)


def test_a_level_that_was_left_out_is_not_said_to_be_missing(tmp_path: Path) -> None:
    middle = SHAPE[0] - 1 - STEP_ROWS * 2 - 5
    case = load(tmp_path, write(with_empty_slices(middle, middle + 1), tmp_path / "seg.nrrd"))
    assert case.levels == ("L1", "L2", "L4", "L5")
    with pytest.raises(HealthiVertError, match=r"L3 is not in .* lies in 2 separate places along .* it has L1, L2, L4"):
        parse_level("L3", case)


def test_where_no_level_is_usable_the_reason_is_said(tmp_path: Path) -> None:
    labels = np.where(np.isin(lumbar_numbers(), (20, 22)), 20, 0).astype(np.uint8)
    with pytest.raises(HealthiVertError, match=r"no usable vertebra \(seg.nrrd: value 20 \(L1\) lies in 2 separate"):
        load(tmp_path, write(labels, tmp_path / "seg.nrrd"))


def test_a_part_with_the_neighbours_number_is_said(tmp_path: Path) -> None:
    """The lower 5 mm of L2 are labelled L3: L2 comes out too low, as if it had a fracture."""
    labels = lumbar_numbers()
    bottom = np.argwhere(labels == 21)[:, 0].min()
    wrong = labels[bottom : bottom + 2]
    wrong[wrong == 21] = 22
    case = load(tmp_path, write(labels, tmp_path / "seg.nrrd"))
    said = [words for words in case.warnings if "touch" in words]
    assert said and all("labels of L2 and L3 touch where a disc should lie" in words for words in said)
    right = load(tmp_path, write(lumbar_numbers(), tmp_path / "right.nrrd"))
    assert not any("touch" in words for words in right.warnings)
