# The target caffe_blas: the BLAS that Caffe and the plug-in multiply matrices with.
#
#   BLAS=wheel      the OpenBLAS of the pinned PyPI package scipy-openblas32, which knows processors that
#                   the OpenBLAS of a distribution does not; it becomes part of build and installation
#   BLAS=system     the system's OpenBLAS (Debian: apt install libopenblas-dev)
#   BLAS=/LIBRARY   any library with the interface of CBLAS
#
# `installed_blas` is what find_package(caffe_ext) reads instead of this file.
set(BLAS "wheel" CACHE STRING "wheel, system, or the path of a library with the interface of CBLAS")
set_property(CACHE BLAS PROPERTY STRINGS wheel system)

if(BLAS STREQUAL "wheel")
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
      "import scipy_openblas32 as b; print(b.get_include_dir(), b.get_lib_dir(), sep=';', end='')"
    OUTPUT_VARIABLE folders COMMAND_ERROR_IS_FATAL ANY)
  list(POP_FRONT folders from_include from_lib)

  # All its functions have the prefix scipy_, so that other copies of OpenBLAS in the process (NumPy's,
  # OpenCV's) do not take their place. Caffe calls them by their names in CBLAS.
  set(include ${PROJECT_BINARY_DIR}/include)
  file(MAKE_DIRECTORY ${include}/scipy_openblas)
  foreach(header cblas.h openblas_config.h) # a new environment must not compile everything again
    file(COPY_FILE ${from_include}/${header} ${include}/scipy_openblas/${header} ONLY_IF_DIFFERENT)
  endforeach()
  file(STRINGS ${from_include}/cblas.h declarations REGEX "scipy_cblas_")
  string(REGEX MATCHALL "scipy_cblas_[a-z0-9_]+" functions "${declarations}")
  list(REMOVE_DUPLICATES functions)
  string(CONCAT names "// CBLAS, as the bundled OpenBLAS names its functions. Written by CMake.\n"
    "#pragma once\n\n#include \"scipy_openblas/cblas.h\"\n\n")
  foreach(function IN LISTS functions)
    string(REPLACE scipy_ "" name ${function})
    string(APPEND names "#define ${name} ${function}\n")
  endforeach()
  file(CONFIGURE OUTPUT ${include}/cblas.h CONTENT "${names}" @ONLY)

  set(library libscipy_openblas.so)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
  file(COPY_FILE ${from_lib}/${library} ${PROJECT_BINARY_DIR}/lib/${library} ONLY_IF_DIFFERENT)
  add_library(caffe_blas SHARED IMPORTED GLOBAL)
  set_target_properties(caffe_blas PROPERTIES
    IMPORTED_LOCATION ${PROJECT_BINARY_DIR}/lib/${library} IMPORTED_SONAME ${library}
    INTERFACE_INCLUDE_DIRECTORIES ${include})

  install(FILES ${PROJECT_BINARY_DIR}/lib/${library} DESTINATION lib)
  install(DIRECTORY ${include}/ DESTINATION include/caffe_blas)
  set(installed_blas [[
if(NOT TARGET caffe_blas)
  get_filename_component(prefix ${CMAKE_CURRENT_LIST_DIR}/../../.. ABSOLUTE)
  add_library(caffe_blas SHARED IMPORTED GLOBAL)
  set_target_properties(caffe_blas PROPERTIES
    IMPORTED_LOCATION ${prefix}/lib/libscipy_openblas.so IMPORTED_SONAME libscipy_openblas.so
    INTERFACE_INCLUDE_DIRECTORIES ${prefix}/include/caffe_blas)
endif()
]])
elseif(BLAS STREQUAL "system")
  set(installed_blas [[
caffe_find_library(caffe_blas HEADER cblas.h LIBRARIES openblas
  SUFFIXES openblas openblas-pthread DEBIAN libopenblas-dev)
]])
  cmake_language(EVAL CODE "${installed_blas}")
elseif(IS_ABSOLUTE "${BLAS}" AND EXISTS "${BLAS}")
  set(installed_blas "
caffe_find_library(caffe_blas HEADER cblas.h SUFFIXES openblas openblas-pthread mkl
  DEBIAN libblas-dev)
target_link_libraries(caffe_blas INTERFACE \"${BLAS}\")
")
  cmake_language(EVAL CODE "${installed_blas}")
else()
  message(FATAL_ERROR "BLAS=${BLAS}: must be wheel, system, or the full path of a library")
endif()

file(WRITE ${PROJECT_BINARY_DIR}/installed_blas.cmake "${installed_blas}")
install(FILES ${PROJECT_BINARY_DIR}/installed_blas.cmake DESTINATION lib/cmake/caffe_ext
  RENAME blas.cmake)
