# The Python environment of the build: <build>/venv, with the packages of requirements/build.txt,
# which pins those of pyproject.toml by version and hash.
#
# Sets Python3_EXECUTABLE to the environment's interpreter, and CAFFE_EXT_PIP to the command that
# installs pinned packages into it. The environment does not see the system's site-packages; a .pth
# file makes `caffe` importable, an editable install `caffe_ext`, and its bin folder has links to
# Caffe's programs.

set(CAFFE_EXT_VENV ${PROJECT_BINARY_DIR}/venv)
set(CAFFE_EXT_REQUIREMENTS ${CMAKE_CURRENT_LIST_DIR}/requirements)
set(CAFFE_EXT_PIP ${CAFFE_EXT_VENV}/bin/python -m pip install --disable-pip-version-check --quiet
  --require-hashes --no-deps)

if(NOT CAFFE_EXT_PYTHON)
  # Boost.Python is built for the system's Python, which need not be the first one on the PATH.
  find_program(system_python NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(system_python NAMES python3 REQUIRED)
  set_property(CACHE CAFFE_EXT_PYTHON PROPERTY VALUE ${system_python})
endif()

set(wanted ${CAFFE_EXT_PYTHON})
foreach(input ${PROJECT_SOURCE_DIR}/pyproject.toml ${CAFFE_EXT_REQUIREMENTS}/build.txt)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${input})
  file(SHA256 ${input} digest)
  string(APPEND wanted " ${digest}")
endforeach()
set(stamp ${CAFFE_EXT_VENV}/made-from)
set(have "")
if(EXISTS ${stamp})
  file(READ ${stamp} have)
endif()

if(NOT have STREQUAL wanted)
  execute_process(COMMAND ${CAFFE_EXT_PYTHON} -c "import sys; print('%d.%d' % sys.version_info[:2])"
    OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(version VERSION_LESS 3.11)
    message(FATAL_ERROR "${CAFFE_EXT_PYTHON} is Python ${version}; caffe_ext needs 3.11 or newer. "
      "-DCAFFE_EXT_PYTHON= names another Python, for which Boost.Python must be installed.")
  endif()
  message(STATUS "Python environment: ${CAFFE_EXT_VENV} (${CAFFE_EXT_PYTHON})")
  execute_process(COMMAND ${CAFFE_EXT_PYTHON} -m venv --clear ${CAFFE_EXT_VENV}
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${CAFFE_EXT_PYTHON} -m venv failed. Its module venv must be installed "
      "(Debian: apt install python3-venv), or name another Python with -DCAFFE_EXT_PYTHON=.")
  endif()
  execute_process(COMMAND ${CAFFE_EXT_PIP} --requirement ${CAFFE_EXT_REQUIREMENTS}/build.txt
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "pip could not install ${CAFFE_EXT_REQUIREMENTS}/build.txt (see above). If "
      "the network was down, run the same command again.")
  endif()
  execute_process(
    COMMAND ${CAFFE_EXT_VENV}/bin/python -m pip install --disable-pip-version-check --quiet
      --no-deps --no-build-isolation --editable ${PROJECT_SOURCE_DIR}
    COMMAND_ERROR_IS_FATAL ANY)
  execute_process(
    COMMAND ${CAFFE_EXT_VENV}/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"
    OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  file(WRITE ${site_packages}/pycaffe.pth "${PROJECT_BINARY_DIR}/python\n")
  file(WRITE ${stamp} "${wanted}")
endif()

set(Python3_EXECUTABLE ${CAFFE_EXT_VENV}/bin/python)
find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module Development.Embed NumPy)
