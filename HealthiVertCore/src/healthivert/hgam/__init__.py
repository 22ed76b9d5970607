"""The fracture classifier behind the attention map: patches, training, calibration, Grad-CAM++, its use in a run."""

CLASSIFIER = "fracture_cnn"  # the shipped one
