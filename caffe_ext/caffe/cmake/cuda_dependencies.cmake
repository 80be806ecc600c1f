# CUDA's libraries for Caffe, as the target caffe_cuda. Included by a build with USE_CUDA and, once that
# is installed, by find_package(caffe_ext).

find_package(CUDAToolkit 12 REQUIRED)
add_library(caffe_cuda INTERFACE IMPORTED GLOBAL)
target_link_libraries(caffe_cuda INTERFACE CUDA::cudart CUDA::cublas CUDA::curand)

# Caffe uses NCCL for training on several GPUs.
option(USE_NCCL "Train on several GPUs, if NCCL is found" ON)
if(USE_NCCL)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY)
  if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    target_compile_definitions(caffe_cuda INTERFACE USE_NCCL)
    target_include_directories(caffe_cuda SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_link_libraries(caffe_cuda INTERFACE ${NCCL_LIBRARY})
  endif()
endif()
