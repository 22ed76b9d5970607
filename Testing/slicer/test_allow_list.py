"""Every name of Slicer, Qt, CTK and VTK that the panel uses is one that Slicer's own sources use."""

from __future__ import annotations

from names_in_use import allowed_names, names_in_use


def test_every_name_in_use_is_on_the_list_with_its_place_in_slicers_sources():
    used, allowed = names_in_use(), allowed_names()
    assert {name: place for name, place in used.items() if name not in allowed} == {}
    assert all(citation.strip() for citation in allowed.values())


def test_the_list_holds_nothing_that_is_not_used():
    assert sorted(allowed_names().keys() - names_in_use().keys()) == []


def test_names_are_found_however_they_are_reached():
    used = names_in_use()
    assert "slicer.mrmlScene.GetNodeByID" in used or "slicer.mrmlScene.AddNewNodeByClass" in used
    assert "slicer.ScriptedLoadableModule.*" in used or "slicer.ScriptedLoadableModule.ScriptedLoadableModule" in used
    assert any(name.startswith("ui:qMRML") for name in used) and any(name.startswith("signal:") for name in used)
