"""A segment's level is what the user said, else its terminology, else its name, exactly as the core reads them."""

import numpy as np
import pytest
import slicer
from HealthiVertSlicerLib import levels
from HealthiVertSlicerLib.result_nodes import fill_segment

from healthivert import labels

NAMES = [
    *(
        "L1",
        "l1",
        "vertebrae_L1",
        "L1 vertebra",
        "First lumbar vertebra",
        "LWK 1",
        "lumbar 1",
        "Lumbar-1",
        "1st lumbar",
    ),
    *("Th12", "BWK12", "T12", "D12", "twelfth thoracic vertebra", "vertebra T13", "L6", "C7", "HWK 3", "body of L2"),
    *("", "Q9", "L7", "C8", "T14", "L1-L2", "disc L1", "rib_left_1", "kidney left", "L", "12", "L1 2", "S2", "TL1"),
    *("sacrum", "Segment_1", "spinal cord", "L1 L1", "T1 L1", "vertebrae_T01"),
    *("vert_L1", "VertebraL1", "vertebraTh12", "vertebrae_L1.nii.gz", "L1 fracture", "L1 (fractured)", "discL1"),
]


def segmentation_of(*names: str, terminologies: dict[str, str] | None = None):
    """A segmentation with a segment of each name, whose ID is the name."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "spine")
    for name in names:
        segment = slicer.vtkSegment()
        segment.SetName(name)
        node.GetSegmentation().AddSegment(segment, name)
    for name, level in (terminologies or {}).items():
        node.GetSegmentation().GetSegment(name).SetTerminology(levels.terminology_for(level))
    return node


def test_16_the_terminology_says_the_level_whatever_the_name(scene):
    node = segmentation_of("Segment_1", "L5", terminologies={"Segment_1": "L2", "L5": "L4"})
    assert levels.segment_levels(node) == {"Segment_1": "L2", "L5": "L4"}


def test_16_without_a_telling_terminology_the_name_says_it(scene):
    node = segmentation_of("vertebrae_L2", "Th12")  # a new segment's terminology is "Tissue"
    assert levels.segment_levels(node) == {"Th12": "T12", "vertebrae_L2": "L2"}


def test_16_the_users_word_counts_more_than_both(scene):
    node = segmentation_of("L1", "L2", "odd", terminologies={"L1": "L1"})
    overrides = {"L1": "T12", "odd": "lwk 1", "L2": levels.NO_VERTEBRA}
    assert levels.segment_levels(node, overrides) == {"L1": "T12", "odd": "L1"}


def test_16_levels_come_back_with_a_saved_scene(scene, tmp_path):
    segmentation_of("first", "L3", terminologies={"first": "T13"})
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert levels.segment_levels(node, {"first": "L1"}) == {"first": "L1", "L3": "L3"}


def test_segments_are_told_from_cranial_to_caudal(scene):
    node = segmentation_of("L3", "kidney left", "T13", "L1", "T12", "C7", "L6")
    assert list(levels.segment_levels(node).values()) == ["C7", "T12", "T13", "L1", "L3", "L6"]


@pytest.mark.parametrize("level", levels.LEVELS)
def test_every_level_survives_as_terminology_with_its_name(scene, level):
    node = segmentation_of(f"vertebrae_{level}")
    node.GetSegmentation().GetNthSegment(0).SetTerminology(levels.terminology_for(level))
    assert list(levels.segment_levels(node).values()) == [level]


def numbered_segmentation(scene, numbers_from_the_top, name="Segment_{}"):
    """A segmentation of blocks below one another, named by numbers."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "numbered")
    for place, number in enumerate(numbers_from_the_top):
        mask = np.zeros((60, 6, 6), np.uint8)
        mask[50 - 6 * place : 54 - 6 * place, 1:5, 1:5] = 1
        fill_segment(node, f"id{number}", mask, np.eye(4))
        node.GetSegmentation().GetSegment(f"id{number}").SetName(name.format(number))
    return node


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([20, 21, 22, 23, 24], ["L1", "L2", "L3", "L4", "L5"]),
        ([19, 28, 20, 21, 25], ["T12", "T13", "L1", "L2", "L6"]),
        ([33, 32, 31, 30], ["T11", "T12", "L1", "L2"]),
        ([24, 23, 22, 21], []),  # L5 on top: an order that is no anatomy
        ([20, 22, 21, 23], []),
        ([20, 21], []),  # may be in order by chance
        ([101, 102, 103, 104], []),
    ],
)
def test_16_numbered_segments_are_levels_if_they_lie_in_the_order_of_a_known_convention(scene, numbers, expected):
    for name in ("Segment_{}", "{}", "label {}"):
        assert list(levels.segment_levels(numbered_segmentation(scene, numbers, name)).values()) == expected
    if expected:
        profiles = {n: labels.LabelProfile(-30.0 * at, 30.0) for at, n in enumerate(numbers)}
        of_core = labels.recognise_values(profiles, "seg").levels
        assert [of_core[number] for number in numbers] == expected


def test_16_a_numbered_segmentation_is_read_again_after_it_changed(scene):
    node = numbered_segmentation(scene, [20, 21, 22, 23])
    assert levels.segment_levels(node, {"id20": "T12"}) == {"id20": "T12", "id21": "L2", "id22": "L3", "id23": "L4"}
    mask = np.ones((3, 6, 6), np.uint8)
    fill_segment(node, "id20", mask, np.eye(4))  # now below the others
    assert levels.segment_levels(node) == {}


@pytest.mark.parametrize("numbers", [[20, 21, 22, 23], [20, 21, 22], [31, 30, 29]])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_16_a_numbered_segment_that_gets_a_name_leaves_the_others_their_levels(scene, numbers, place):
    node = numbered_segmentation(scene, numbers)
    before = levels.segment_levels(node)
    segment_id = f"id{numbers[place]}"
    node.GetSegmentation().GetSegment(segment_id).SetName(before[segment_id])
    assert levels.segment_levels(node) == before
    node.GetSegmentation().GetSegment(segment_id).SetName("not yet known")
    if len(numbers) > 3:
        assert levels.segment_levels(node) == {key: level for key, level in before.items() if key != segment_id}


def test_16_two_segments_of_one_level_by_name_and_by_number_are_both_kept_to_be_told(scene):
    node = numbered_segmentation(scene, [20, 21, 22, 23])
    node.GetSegmentation().GetSegment("id21").SetName("L1")
    assert sorted(levels.segment_levels(node).values()) == ["L1", "L1", "L3", "L4"]


@pytest.mark.parametrize(
    "numbers",
    [[1, 20, 21, 22, 23], [20, 21, 22, 23, 1], [1, 2, 20, 21, 22, 23], [20, 1, 21, 2, 22, 3, 23], [20, 21, 22, 23, 24]],
)
def test_what_is_drawn_beside_a_named_spine_is_no_vertebra_by_its_number(scene, numbers):
    """Slicer calls it Segment_1, which would be C1; L5 (24) does go on where the names end."""
    node = numbered_segmentation(scene, numbers)
    for number, level in ((20, "L1"), (21, "L2"), (22, "L3"), (23, "L4")):
        node.GetSegmentation().GetSegment(f"id{number}").SetName(level)
    expected = ["L1", "L2", "L3", "L4", *(["L5"] if 24 in numbers else [])]
    assert list(levels.segment_levels(node).values()) == expected


def test_what_is_called_a_vertebra_and_no_more_is_left_to_the_name(scene):
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic
    assert logic.DeserializeTerminologyEntry(levels.terminology_for("L6"), entry)
    assert entry.GetTypeObject().GetCodeValue() == "51282000"
    assert entry.GetTypeObject().GetCodeMeaning() == "L6 vertebra"


def test_codes_and_names_mean_what_they_mean_to_the_core():
    core_codes = {level: code for code, level in labels.SNOMED.items() if level != labels.SACRUM_NAME}
    assert core_codes == levels.SNOMED_CODES
    core_levels = {name: labels.level_of_name(name) for name in NAMES}
    expected = {name: None if level == labels.SACRUM_NAME else level for name, level in core_levels.items()}
    assert {name: levels.level_of_name(name) for name in NAMES} == expected
