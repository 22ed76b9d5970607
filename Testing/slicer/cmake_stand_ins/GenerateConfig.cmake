# Stands in for SlicerExtensionGenerateConfig.cmake: it comes after the modules, before packing.
record_call(Slicer_EXTENSION_GENERATE_CONFIG)
