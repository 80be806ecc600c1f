# GPU tests of a CUDA build. Without a GPU they are built and reported as skipped.

# The GPU kernels do not depend on Caffe either: they and their tests are a separate program, which
# tests/gpu/run also runs under compute-sanitizer.
set(kernels ${PROJECT_SOURCE_DIR}/caffe_ext/kernels)
file(GLOB_RECURSE gpu_kernel_tests CONFIGURE_DEPENDS cpp/kernels/*_gpu.cpp)
file(GLOB_RECURSE gpu_kernels CONFIGURE_DEPENDS ${kernels}/*.cu)
add_executable(caffe_ext_gpu_kernel_tests EXCLUDE_FROM_ALL ${gpu_kernel_tests} ${gpu_kernels}
  ${kernels}/attack/steps.cpp ${kernels}/bang/balancing.cpp ${kernels}/bounds/dual_spread.cpp
  ${kernels}/common/threads.cpp)
target_include_directories(caffe_ext_gpu_kernel_tests PRIVATE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/caffe_ext/include)
target_compile_options(caffe_ext_gpu_kernel_tests PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra> $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
target_link_libraries(caffe_ext_gpu_kernel_tests PRIVATE
  GTest::gtest_main CUDA::cudart CUDA::cublas caffe_blas Threads::Threads ${CMAKE_DL_LIBS})
set_target_properties(caffe_ext_gpu_kernel_tests PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)

# The other GPU tests are in the program of all C++ tests; their suites have "Gpu" in their names.
file(GLOB gpu_tests CONFIGURE_DEPENDS cpp/*/*_gpu.cpp) # kernels/ is a level deeper
target_sources(caffe_ext_tests PRIVATE ${gpu_tests})

add_test(NAME gpu.build
  COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target caffe_ext_gpu_kernel_tests
    --config $<CONFIG>)
set_tests_properties(gpu.build PROPERTIES
  FIXTURES_SETUP caffe_ext_gpu_kernel_tests RUN_SERIAL ON TIMEOUT 1800 LABELS gpu)
add_test(NAME gpu.kernels COMMAND caffe_ext_gpu_kernel_tests)
set_tests_properties(gpu.kernels PROPERTIES FIXTURES_REQUIRED caffe_ext_gpu_kernel_tests)
add_cpp_test(gpu *Gpu*)
# CPU tests, repeated with Caffe in GPU mode.
add_cpp_test(gpu_mode ${any_device_tests})
set_property(TEST cpp.gpu_mode APPEND PROPERTY ENVIRONMENT CAFFE_EXT_TEST_MODE=GPU)
# The same for Python tests; Python tests that need a GPU are part of every build.
add_test(NAME gpu.python_gpu_mode
  COMMAND ${Python3_EXECUTABLE} -m pytest -q -p no:cacheprovider -m any_device
    ${PROJECT_SOURCE_DIR}/tests/python
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties(gpu.python_gpu_mode PROPERTIES ENVIRONMENT CAFFE_EXT_TEST_MODE=GPU)
set_tests_properties(gpu.kernels gpu.python_gpu_mode cpp.gpu cpp.gpu_mode PROPERTIES
  SKIP_REGULAR_EXPRESSION "skipped: no GPU" LABELS gpu)
