# The macros that an extension's CMake files call. Each writes its arguments into recorded.txt of the build folder, one call
# a line, arguments separated by "|"; the two that install files do install them, where Slicer's own would.
# Imitates Slicer v5.12.3: CMake/UseSlicer.cmake.in, SlicerMacroBuildScriptedModule.cmake, SlicerMacroPythonTesting.cmake,
# and CTK's CMake/ctkMacroCompilePythonScript.cmake. Unlike them it byte-compiles nothing and runs no test.
set(recorded ${CMAKE_BINARY_DIR}/recorded.txt)
file(WRITE ${recorded} "")
set(BUILD_TESTING ON)

function(record_call name)
  string(REPLACE ";" "|" arguments "${ARGN}")
  file(APPEND ${recorded} "${name}|${arguments}\n")
endfunction()

# As the real one, a path is taken relative to SOURCE_DIR and keeps its folders below INSTALL_DIR.
function(install_python_files source_folder install_folder)
  foreach(file IN LISTS ARGN)
    if(IS_ABSOLUTE ${file} OR file MATCHES "\\.\\.")
      message(FATAL_ERROR "'${file}' would land outside the installed tree")
    endif()
    if(NOT EXISTS ${source_folder}/${file})
      message(FATAL_ERROR "'${source_folder}/${file}' is listed and does not exist")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${source_folder}/${file} DESTINATION ${install_folder}/${folder})
  endforeach()
endfunction()

function(ctkMacroCompilePythonScript)
  record_call(ctkMacroCompilePythonScript ${ARGN})
  cmake_parse_arguments(PARSE_ARGV 0 MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES")
  foreach(name TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT MY_${name})
      message(FATAL_ERROR "${name} is mandatory")
    endif()
  endforeach()
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ctkMacroCompilePythonScript knows no ${MY_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  install_python_files(${MY_SOURCE_DIR} ${MY_INSTALL_DIR} ${MY_SCRIPTS} ${MY_RESOURCES})
endfunction()

function(slicerMacroBuildScriptedModule)
  record_call(slicerMacroBuildScriptedModule ${ARGN})
  cmake_parse_arguments(PARSE_ARGV 0 MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(NOT MY_NAME OR NOT MY_SCRIPTS)
    message(FATAL_ERROR "NAME and SCRIPTS are mandatory")
  endif()
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule knows no ${MY_UNPARSED_ARGUMENTS}")
  endif()
  install_python_files(${CMAKE_CURRENT_SOURCE_DIR} ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    ${MY_SCRIPTS} ${MY_RESOURCES})
endfunction()

function(slicer_add_python_unittest)
  record_call(slicer_add_python_unittest ${ARGN})
endfunction()
