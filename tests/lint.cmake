# Target `lint`: format, style and types of our own sources. Installs its tools,
# requirements/lint.txt, into the build's Python environment.

set(venv_bin ${CAFFE_EXT_VENV}/bin)
add_custom_command(
  OUTPUT ${PROJECT_BINARY_DIR}/lint-tools
  COMMAND ${CAFFE_EXT_PIP} --requirement ${CAFFE_EXT_REQUIREMENTS}/lint.txt
  COMMAND ${CMAKE_COMMAND} -E touch ${PROJECT_BINARY_DIR}/lint-tools
  DEPENDS ${CAFFE_EXT_VENV}/made-from ${CAFFE_EXT_REQUIREMENTS}/lint.txt
  COMMENT "Installing the tools for lint")

set(patterns "")
foreach(folder IN ITEMS caffe_ext/include caffe_ext/kernels caffe_ext/src tests)
  list(APPEND patterns ${PROJECT_SOURCE_DIR}/${folder}/*.[ch]pp ${PROJECT_SOURCE_DIR}/${folder}/*.cu
    ${PROJECT_SOURCE_DIR}/${folder}/*.inc)
endforeach()
file(GLOB_RECURSE cxx_sources CONFIGURE_DEPENDS ${patterns})
# clang-tidy sees the headers through the sources that include them. Tests are read for their
# format only: GoogleTest's macros break most of the rules.
set(tidy_sources ${cxx_sources})
list(FILTER tidy_sources INCLUDE REGEX "^${PROJECT_SOURCE_DIR}/caffe_ext/.*cpp$")
if(NOT USE_CUDA)
  list(FILTER tidy_sources EXCLUDE REGEX _gpu\\.cpp$) # they need CUDA's headers
endif()
# It reads one after another: several of it at once.
list(JOIN tidy_sources "\n" lines)
file(WRITE ${PROJECT_BINARY_DIR}/tidy_sources.txt "${lines}\n")
include(ProcessorCount)
ProcessorCount(processors)
set(python_sources
  caffe_ext/caffe caffe_ext/python caffe_ext/distribution prototxt tools benchmarks tests)

add_custom_target(lint
  COMMAND ${venv_bin}/python caffe_ext/python/pin_requirements.py --check
  COMMAND ${venv_bin}/ruff check ${python_sources}
  COMMAND ${venv_bin}/ruff format --check ${python_sources}
  COMMAND ${venv_bin}/mypy caffe_ext/caffe caffe_ext/python caffe_ext/distribution prototxt tools benchmarks
    tests/docs tests/fuzz tests/images tests/python tests/wheel
  # By itself, as it has a conftest.py, too.
  COMMAND ${CMAKE_COMMAND} -E env MYPYPATH=benchmarks:tests/python ${venv_bin}/mypy tests/kill
  COMMAND ${venv_bin}/hadolint caffe_ext/distribution/Dockerfile
  COMMAND ${venv_bin}/clang-format --dry-run --Werror ${cxx_sources}
  COMMAND xargs --arg-file=${PROJECT_BINARY_DIR}/tidy_sources.txt --max-args=1
    --max-procs=${processors} ${venv_bin}/clang-tidy -p ${PROJECT_BINARY_DIR} --quiet
  DEPENDS ${PROJECT_BINARY_DIR}/lint-tools
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  USES_TERMINAL
  COMMENT "lint")
