# For find_package(caffe_ext) of an installed plug-in.
include(${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/cuda_dependencies.cmake OPTIONAL) # of a CUDA build only
include(${CMAKE_CURRENT_LIST_DIR}/caffe_extTargets.cmake)
