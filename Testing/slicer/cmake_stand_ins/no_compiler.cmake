# A toolchain file: nothing is compiled, so configuring must need no compiler and not spend seconds on looking at one.
set(CMAKE_SYSTEM_NAME Generic)
foreach(language C CXX)
  set(CMAKE_${language}_COMPILER ${CMAKE_COMMAND})
  set(CMAKE_${language}_COMPILER_FORCED TRUE)
endforeach()
