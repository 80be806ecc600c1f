# Caffe's own test suites, with the plug-in loaded.
#
#   ctest --test-dir build -L upstream
#
# The GoogleTest suite is one program. The first test builds it, so that a build without tests does not
# need to; the others run its tests in shards.

include(ProcessorCount)
ProcessorCount(processors)
set(shards ${processors})
if(shards LESS 2)
  set(shards 2)
elseif(shards GREATER 8)
  set(shards 8)
endif()

# --- GoogleTest ----------------------------------------------------------------------------------

file(GLOB upstream_tests CONFIGURE_DEPENDS ${CAFFE_ROOT}/src/caffe/test/test_*.cpp)
if(USE_CUDA)
  # Without a GPU, the suite itself skips the tests that need one, and says so.
  set(upstream_filter "")
  list(APPEND upstream_tests ${CAFFE_ROOT}/src/caffe/test/test_im2col_kernel.cu)
  set_source_files_properties(${CAFFE_ROOT}/src/caffe/test/test_im2col_kernel.cu
    PROPERTIES COMPILE_OPTIONS "${CAFFE_SHARED_KERNELS}")
else()
  set(upstream_filter --gtest_filter=-*GPU*)
endif()
add_executable(caffe_upstream_tests EXCLUDE_FROM_ALL
  ${upstream_tests} ${CAFFE_ROOT}/src/gtest/gtest-all.cpp upstream_plugin_loaded.cpp)
target_include_directories(caffe_upstream_tests PRIVATE ${CAFFE_ROOT}/src)
# The program uses no symbol of the plug-in; --no-as-needed keeps it.
target_link_libraries(caffe_upstream_tests PRIVATE caffe caffe_opencv
  -Wl,--no-as-needed caffe_ext -Wl,--as-needed)
# A unity build of 71 files with many templates takes 50 seconds of one core instead of 3.5 minutes file
# by file with -O3. The library under test keeps its flags, and the suite runs as fast as with -O3
# (with -O0 it would take 2.5 times as long).
target_compile_options(caffe_upstream_tests PRIVATE -w -O1)
target_precompile_headers(caffe_upstream_tests PRIVATE
  <caffe/caffe.hpp> <caffe/test/test_gradient_check_util.hpp>)
set_target_properties(caffe_upstream_tests PROPERTIES
  UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)

add_test(NAME upstream.build
  COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target caffe_upstream_tests
    --config $<CONFIG> --parallel ${shards})
set_tests_properties(upstream.build PROPERTIES
  FIXTURES_SETUP caffe_upstream_tests
  RUN_SERIAL ON # it uses all processors, and two builds must not run in one folder at once
  TIMEOUT 3600
  LABELS upstream)

# The suite leaves thousands of temporary folders behind, in this one, which is removed.
set(upstream_tmp ${PROJECT_BINARY_DIR}/tests/upstream_tmp)
add_test(NAME upstream.tmp COMMAND ${CMAKE_COMMAND} -E make_directory ${upstream_tmp})
add_test(NAME upstream.clean COMMAND ${CMAKE_COMMAND} -E rm -rf ${upstream_tmp})
set_tests_properties(upstream.tmp PROPERTIES FIXTURES_SETUP upstream_tmp LABELS upstream)
set_tests_properties(upstream.clean PROPERTIES FIXTURES_CLEANUP upstream_tmp LABELS upstream)

math(EXPR last "${shards} - 1")
foreach(shard RANGE ${last})
  set(name upstream.gtest.${shard})
  # The suite opens its data by paths relative to Caffe's source.
  add_test(NAME ${name} COMMAND caffe_upstream_tests ${upstream_filter}
    WORKING_DIRECTORY ${CAFFE_ROOT})
  set(environment TMPDIR=${upstream_tmp} GTEST_TOTAL_SHARDS=${shards} GTEST_SHARD_INDEX=${shard}
    OPENBLAS_NUM_THREADS=1 GLOG_minloglevel=2)
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "${environment}"
    FIXTURES_REQUIRED "caffe_upstream_tests;upstream_tmp"
    LABELS upstream)
endforeach()

# --- pycaffe -------------------------------------------------------------------------------------

set(run_pycaffe_tests "import caffe_ext, unittest\nunittest.main(module=None, argv=['', 'discover'])")
add_test(NAME upstream.pycaffe COMMAND ${Python3_EXECUTABLE} -B -c "${run_pycaffe_tests}"
  WORKING_DIRECTORY ${CAFFE_ROOT}/python/caffe/test)
set_tests_properties(upstream.pycaffe PROPERTIES
  ENVIRONMENT "GLOG_minloglevel=2"
  PASS_REGULAR_EXPRESSION "Ran 52 tests in [^\n]*\n\nOK\n" # all of them, none skipped
  LABELS upstream)
