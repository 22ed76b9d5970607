# Stands in for SlicerExtensionCPack.cmake, which reads the extension's description from these variables.
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  record_call(EXTENSION_${name} ${EXTENSION_${name}})
endforeach()
