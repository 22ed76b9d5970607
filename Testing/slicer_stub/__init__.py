"""A stand for HealthiVert's panel outside the Slicer application.

The MRML scene, its nodes, the module logics, the displayable managers and `slicer.util` are Slicer's own, from the
slicer-core wheel. What the wheel lacks, because it is Qt, PythonQt or CTK, is imitated here: each file says which file
of Slicer it stands in for and what differs. Start it with `slicer_stub.stand.start()`.
"""
