# CUDA as a language of the build: compiler and GPU architectures. Included with USE_CUDA.

option(CUDA_FROM_WHEELS "Use the CUDA toolkit from Python packages even if the system has one" OFF)

# The nvcc that the user names, else that on the PATH or in the usual place, else that of NVIDIA's
# Python packages in the build's Python environment.
set(wheels ${Python3_SITELIB}/nvidia/cu13)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(nvcc NVCC-NOTFOUND)
  if(NOT CUDA_FROM_WHEELS)
    find_program(nvcc nvcc PATHS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin NO_CACHE)
  endif()
  if(NOT nvcc)
    set(nvcc ${wheels}/bin/nvcc)
  endif()
  set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "CUDA's compiler")
endif()
# The environment, and nvcc in it, is re-created after a change of pyproject.toml.
if(CMAKE_CUDA_COMPILER STREQUAL ${wheels}/bin/nvcc AND NOT EXISTS ${CMAKE_CUDA_COMPILER})
  include(${CMAKE_CURRENT_LIST_DIR}/cuda_wheels.cmake)
endif()

# Machine code for Turing, Ampere with Ada (code for 8.0 runs on 8.x) and Hopper, and PTX that
# drivers translate for later architectures. `native` builds only for this machine's GPU.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES "75-real;80-real;90" CACHE STRING "GPUs to compile for")
endif()

set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
# One shared runtime: libcaffe and the plug-in exchange pointers and streams.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "CUDA ${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER}): the build needs "
    "12 or newer; name another nvcc with -DCMAKE_CUDA_COMPILER=, or use -DCUDA_FROM_WHEELS=ON")
endif()

# nvcc may use an older GCC, as Debian's does; the C++ compiler links, with its own libstdc++.
list(FILTER CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES EXCLUDE REGEX /gcc/)

find_package(CUDAToolkit 12 REQUIRED)
list(APPEND CMAKE_INSTALL_RPATH ${CUDAToolkit_LIBRARY_DIR})
