# CUDA's toolkit from NVIDIA's packages on PyPI, into the build's Python environment.
#
# Since CUDA 13 the packages share one folder, ${wheels}, with the layout of a toolkit. What is missing
# in it are the names without a version by which linkers look for libraries.

message(STATUS "CUDA's toolkit: from PyPI, into ${wheels}")
execute_process(
  COMMAND ${Python3_EXECUTABLE} -m pip install --disable-pip-version-check --quiet
    --editable ${PROJECT_SOURCE_DIR}[cuda]
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "No nvcc was found on this system, and pip could not install CUDA's toolkit (see "
    "above). Install one, and name its nvcc with -DCMAKE_CUDA_COMPILER= if it is not on the PATH.")
endif()
foreach(library cudart cublas cublasLt curand)
  file(GLOB versioned RELATIVE ${wheels}/lib ${wheels}/lib/lib${library}.so.*)
  file(CREATE_LINK ${versioned} ${wheels}/lib/lib${library}.so SYMBOLIC)
endforeach()
