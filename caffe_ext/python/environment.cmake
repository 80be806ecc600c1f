# The Python environment of the build: <build>/venv, made from pyproject.toml.
#
# Sets Python3_EXECUTABLE to the environment's interpreter. The environment never sees the system's
# site-packages; `caffe` and `caffe_ext` are put at its hand by a .pth file and an editable install,
# and Caffe's programs by links in its bin folder.

set(CAFFE_EXT_VENV ${PROJECT_BINARY_DIR}/venv)

if(NOT CAFFE_EXT_PYTHON)
  # Boost.Python is built for the system's Python, which need not be the first one on the PATH.
  find_program(system_python NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(system_python NAMES python3 REQUIRED)
  set_property(CACHE CAFFE_EXT_PYTHON PROPERTY VALUE ${system_python})
endif()

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/pyproject.toml)
file(SHA256 ${PROJECT_SOURCE_DIR}/pyproject.toml wanted)
string(APPEND wanted " ${CAFFE_EXT_PYTHON}")
set(stamp ${CAFFE_EXT_VENV}/made-from)
set(have "")
if(EXISTS ${stamp})
  file(READ ${stamp} have)
endif()

if(NOT have STREQUAL wanted)
  message(STATUS "Python environment: ${CAFFE_EXT_VENV} (${CAFFE_EXT_PYTHON})")
  execute_process(COMMAND ${CAFFE_EXT_PYTHON} -m venv --clear ${CAFFE_EXT_VENV}
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${CAFFE_EXT_PYTHON} -m venv failed. Its module venv must be installed "
      "(Debian: apt install python3-venv), or name another Python with -DCAFFE_EXT_PYTHON=.")
  endif()
  execute_process(
    COMMAND ${CAFFE_EXT_VENV}/bin/python -m pip install --disable-pip-version-check --quiet
      --editable ${PROJECT_SOURCE_DIR}[test]
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "pip could not install what pyproject.toml lists (see above). Is the network "
      "there? Run the same command again once it is.")
  endif()
  execute_process(
    COMMAND ${CAFFE_EXT_VENV}/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"
    OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  file(WRITE ${site_packages}/pycaffe.pth "${PROJECT_BINARY_DIR}/python\n")
  file(WRITE ${stamp} "${wanted}")
endif()

set(Python3_EXECUTABLE ${CAFFE_EXT_VENV}/bin/python)
find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module Development.Embed NumPy)
