"""Make the phantom that ships with the package: data/demo/{ct,seg}.nii.gz and truth.json. Run it only to replace it."""

from __future__ import annotations

import json
from pathlib import Path

import SimpleITK as sitk

from healthivert.phantom import level_grid, render, sample_spine, truth

SEED = 142  # a spine whose one fracture is a wedge of L1, seen by a quiet scanner
LEVEL = "L1"
LEVELS = ("T10", "T11", "T12", "L1", "L2", "L3")  # those that lie whole in the box
BOX_MM = (92.0, 104.0, 196.0)
OUT = Path(__file__).resolve().parents[2] / "HealthiVertCore" / "src" / "healthivert" / "data" / "demo"


def main() -> None:
    spine = sample_spine(SEED, fractured=True, levels=LEVELS)
    picture = render(spine, level_grid(spine, LEVEL, BOX_MM), spine.scanner)
    OUT.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(picture.ct, str(OUT / "ct.nii.gz"), True, 9)
    sitk.WriteImage(picture.labels, str(OUT / "seg.nii.gz"), True, 9)
    facts = {"seed": SEED, **truth(spine)}
    (OUT / "truth.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
