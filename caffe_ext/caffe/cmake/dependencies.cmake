# The libraries that Caffe depends on, as imported targets. Included by the build and, once installed,
# by find_package(caffe_ext).

# For a library without a CMake package, or with one that needs the language C: find header and
# libraries, and define the target `name`. In LIBRARIES, "a|b" is a, or b where there is no a.
function(caffe_find_library name)
  if(TARGET ${name})
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "HEADER;DEBIAN" "LIBRARIES;SUFFIXES")
  find_path(${name}_INCLUDE_DIR ${arg_HEADER} PATH_SUFFIXES ${arg_SUFFIXES})
  add_library(${name} INTERFACE IMPORTED GLOBAL)
  if(NOT ${name}_INCLUDE_DIR)
    message(FATAL_ERROR "${arg_HEADER} was not found; on Debian: apt install ${arg_DEBIAN}")
  endif()
  foreach(library IN LISTS arg_LIBRARIES)
    string(REPLACE "|" ";" names ${library})
    list(GET names -1 library)
    find_library(${name}_${library} NAMES ${names})
    if(NOT ${name}_${library})
      message(FATAL_ERROR "The library ${library} was not found; on Debian: "
        "apt install ${arg_DEBIAN}")
    endif()
    target_link_libraries(${name} INTERFACE ${${name}_${library}})
    mark_as_advanced(${name}_${library})
  endforeach()
  target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE_DIR})
  mark_as_advanced(${name}_INCLUDE_DIR)
endfunction()

find_package(Threads REQUIRED)
find_package(Boost 1.58 REQUIRED CONFIG COMPONENTS thread filesystem)
find_package(Protobuf CONFIG QUIET)
if(NOT Protobuf_FOUND)
  find_package(Protobuf REQUIRED MODULE)
endif()
find_package(gflags REQUIRED CONFIG)
find_package(glog REQUIRED CONFIG)
find_package(leveldb REQUIRED CONFIG)
find_package(Snappy REQUIRED CONFIG)

include(${CMAKE_CURRENT_LIST_DIR}/blas.cmake)
caffe_find_library(caffe_hdf5 HEADER hdf5_hl.h LIBRARIES hdf5_serial_hl|hdf5_hl hdf5_serial|hdf5
  SUFFIXES hdf5/serial DEBIAN libhdf5-dev)
caffe_find_library(caffe_lmdb HEADER lmdb.h LIBRARIES lmdb DEBIAN liblmdb-dev)
caffe_find_library(caffe_opencv HEADER opencv2/imgcodecs.hpp
  LIBRARIES opencv_imgcodecs opencv_imgproc opencv_core
  SUFFIXES opencv5 opencv4 DEBIAN libopencv-imgcodecs-dev)
