# The CUDA toolkit from NVIDIA's Python packages, installed into the build's Python environment.
#
# Since CUDA 13 the packages share one folder, ${wheels}, with the layout of a toolkit. It lacks the
# unversioned names by which linkers look for libraries.

message(STATUS "CUDA toolkit: from Python packages, in ${wheels}")
execute_process(
  COMMAND ${CAFFE_EXT_PIP} --requirement ${CAFFE_EXT_REQUIREMENTS}/cuda.txt
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "No nvcc was found, and pip could not install the CUDA toolkit (see above). "
    "Install a toolkit; if its nvcc is not on the PATH, set -DCMAKE_CUDA_COMPILER=.")
endif()
foreach(library cudart cublas cublasLt curand)
  file(GLOB versioned RELATIVE ${wheels}/lib ${wheels}/lib/lib${library}.so.*)
  file(CREATE_LINK ${versioned} ${wheels}/lib/lib${library}.so SYMBOLIC)
endforeach()
