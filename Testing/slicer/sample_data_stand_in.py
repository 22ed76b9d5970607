"""Stands in for Slicer's module SampleData (v5.12.3, Modules/Scripted/SampleData/SampleData.py), which the wheel lacks.

The checks of a registered source, the cache, the checksums and the loading through the file types are imitated.
Differs: no panel, no rewriting of addresses, no second attempt, and no archive or scene among the files.
"""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk


@dataclass(frozen=True)
class SampleDataSource:
    sampleName: str
    uris: Sequence[str]
    fileNames: Sequence[str]
    nodeNames: Sequence[str]
    checksums: Sequence[str]
    loadFileTypes: Sequence[str]
    loadFiles: Sequence[bool]
    thumbnailFileName: str

    def __post_init__(self) -> None:
        columns = (self.uris, self.fileNames, self.nodeNames, self.checksums, self.loadFileTypes, self.loadFiles)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("All fields of sample data source must have the same length")


def install(monkeypatch: Any) -> None:
    """From now on, until the end of the test, Slicer has the module, with nothing registered in it."""
    monkeypatch.setitem(sys.modules, "SampleData", sys.modules[__name__])
    monkeypatch.setattr(slicer.modules, "sampledata", object(), raising=False)
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    monkeypatch.setattr(slicer.modules, "sampleDataSourceCategories", {}, raising=False)


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **fields: Any) -> None:
        source = SampleDataSource(**fields)
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        everything = (source for sources in slicer.modules.sampleDataSources.values() for source in sources)
        return next((source for source in everything if source.sampleName == sampleName), None)

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        rows = zip(source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFileTypes, strict=True)
        return [
            self._load(self._into_cache(uri, file, checksum), name, kind) for uri, file, name, checksum, kind in rows
        ]

    def _into_cache(self, uri: str, name: str, checksum: str) -> Path:
        """As downloadFile: a cached file is used again if its checksum is right; a fresh one that is wrong goes."""
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / name
        if not (path.exists() and _checksum(path) == checksum):
            urllib.request.urlretrieve(uri, path)
            if _checksum(path) != checksum:
                path.unlink()
        return path

    def _load(self, path: Path, name: str, kind: str) -> Any:
        loaded = vtk.vtkCollection()
        if not slicer.app.coreIOManager().loadNodes(kind, {"fileName": str(path), "name": name}, loaded):
            return None
        node = loaded.GetItemAsObject(0)
        slicer.mrmlScene.RemoveNode(node.GetStorageNode())
        return node


def _checksum(path: Path) -> str:
    return f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
