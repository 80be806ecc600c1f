# Installs the build and uses the installation from outside: a C++ project with find_package, the
# program `caffe`, and Python.
#
#   cmake -D BUILD=... -D SOURCE=... -D PYTHON=... -P run.cmake
set(scratch ${BUILD}/tests/installed)
set(prefix ${scratch}/prefix)
file(REMOVE_RECURSE ${scratch})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
# Move it, so that nothing can depend on the path of the installation.
file(RENAME ${prefix} ${scratch}/moved)
set(prefix ${scratch}/moved)

run(${CMAKE_COMMAND} -S ${SOURCE}/tests/installed -B ${scratch}/build
  -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${scratch}/build)
run(${scratch}/build/consumer)

file(WRITE ${scratch}/solver.prototxt [[
  type: "BANG" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_after_train: false
  net_param {
    layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
      shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" }
      data_filler { type: "constant" } } }
    layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {
      num_output: 2 weight_filler { type: "xavier" } } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
  }
]])
run(${prefix}/bin/caffe train --solver=${scratch}/solver.prototxt)

# As distributions link that leave out libraries of which no symbol is used.
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/installed/caffe_api -B ${scratch}/caffe_api
  -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_BUILD_TYPE=Release
  -D CMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed)
run(${CMAKE_COMMAND} --build ${scratch}/caffe_api)
run(${scratch}/caffe_api/caffe_api ${scratch}/solver.prototxt)

# pycaffe with the library alone, then with the package.
run(${CMAKE_COMMAND} -E env PYTHONPATH=${prefix}/python ${PYTHON} -c "
import ctypes, sys
import caffe
assert caffe.__file__.startswith('${prefix}'), caffe.__file__
ctypes.CDLL('${prefix}/lib/libcaffe_ext.so')
caffe.get_solver('${scratch}/solver.prototxt').step(1)
")
run(${CMAKE_COMMAND} -E env PYTHONPATH=${prefix}/python ${PYTHON} -c "
import caffe, caffe_ext
assert str(caffe_ext.PLUGIN).startswith('${prefix}'), caffe_ext.PLUGIN
caffe.get_solver('${scratch}/solver.prototxt').step(1)
")
file(REMOVE_RECURSE ${scratch})
