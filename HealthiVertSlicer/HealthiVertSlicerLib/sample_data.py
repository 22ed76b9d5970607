"""The phantom that comes with HealthiVert, in Slicer's Sample Data module: a CT and its vertebrae, L1 fractured.

The files are those of the installed extension, so that trying HealthiVert needs no network. Slicer copies them into its
cache, checks them, and loads them by their names. docs/slicer.md says what HealthiVert finds in them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer

CATEGORY = "HealthiVert"
SAMPLE = "HealthiVertPhantom"
SEGMENTATION = "HealthiVertPhantom vertebrae"
CT_CHECKSUM = "SHA256:f2e246385e1bc0ccac552e00c716af127d2c5f44ae4cc8f27d20215a36b91fc0"
SEGMENTATION_CHECKSUM = "SHA256:f4b82742a051068cee64b40e1589ae1b6d247f5ee392b72285ff1a4feef45e26"
RESOURCES = Path(__file__).resolve().parents[1] / "Resources"


def sample_files() -> tuple[Path, Path]:
    """The CT (of the core's package) and the segmentation (of the panel's resources), where they are installed.

    Raises FileNotFoundError naming what is missing: then the installation is incomplete.
    """
    from HealthiVertSlicerLib.runner import core_folder

    core = core_folder()
    if core is None:
        raise FileNotFoundError("HealthiVert's core is not installed beside its panel; install the extension again")
    files = core / "healthivert" / "data" / "demo" / "ct.nii.gz", RESOURCES / "SampleData" / f"{SAMPLE}.seg.nrrd"
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: this sample file is missing; install the extension again")
    return files


def register_sample_data() -> None:
    """Put the phantom into the Sample Data module; to be called once Slicer has started. Reads no voxel."""
    import SampleData
    from slicer.i18n import tr as _

    try:
        ct, segmentation = sample_files()
    except FileNotFoundError as error:  # Slicer's start must not fail for want of a sample
        logging.warning("HealthiVert: %s", error)
        return
    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, _("HealthiVert"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        uris=[ct.as_uri(), segmentation.as_uri()],
        fileNames=[f"{SAMPLE}.nii.gz", f"{SAMPLE}.seg.nrrd"],
        nodeNames=[SAMPLE, SEGMENTATION],
        checksums=[CT_CHECKSUM, SEGMENTATION_CHECKSUM],
        loadFileTypes=["VolumeFile", "SegmentationFile"],
        loadFiles=[True, True],
        thumbnailFileName=str(RESOURCES / "Icons" / f"{SAMPLE}.png"),
    )


def load_sample() -> tuple[Any, Any]:
    """The phantom's volume node and segmentation node, loaded into the scene as the Sample Data module would."""
    import SampleData

    register_sample_data()
    volume, segmentation = SampleData.SampleDataLogic().downloadSamples(SAMPLE)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume, segmentation
