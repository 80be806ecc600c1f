# The target caffe_static_opencv: OpenCV's core, imgproc and imgcodecs as a part of what is linked with
# it, where the system has their archives (Debian and its descendants do). A process then loads 60
# libraries instead of 150, and `caffe` starts in a sixth of the time; see static_opencv.py.

get_filename_component(folder ${caffe_opencv_opencv_core} DIRECTORY)
set(archives "")
set(have_archives ON)
foreach(module imgcodecs imgproc core)
  set(archive ${folder}/libopencv_${module}.a)
  list(APPEND archives ${archive})
  if(NOT EXISTS ${archive})
    set(have_archives OFF)
  endif()
endforeach()
option(STATIC_OPENCV "Link OpenCV's archives into libcaffe, without GDAL, GDCM and OpenEXR"
  ${have_archives})

add_library(caffe_static_opencv INTERFACE)
target_include_directories(caffe_static_opencv SYSTEM INTERFACE
  $<TARGET_PROPERTY:caffe_opencv,INTERFACE_INCLUDE_DIRECTORIES>)
if(STATIC_OPENCV)
  set(left_out ${PROJECT_BINARY_DIR}/caffe/left_out.ld)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/static_opencv.py ${left_out} ${folder}
    OUTPUT_VARIABLE libraries COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE "([^\n]+)\n" "-l:\\1;" libraries "${libraries}")
  add_library(caffe_left_out OBJECT ${CMAKE_CURRENT_SOURCE_DIR}/left_out.cpp)
  set_target_properties(caffe_left_out PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(caffe_left_out PRIVATE caffe_opencv)
  target_link_libraries(caffe_static_opencv INTERFACE
    $<TARGET_OBJECTS:caffe_left_out> ${archives} ${left_out} ${libraries})
  # Hidden, so that another OpenCV in the process does not take its place; without what is not called.
  target_link_options(caffe_static_opencv INTERFACE LINKER:--gc-sections
    LINKER:--exclude-libs,libopencv_core.a:libopencv_imgproc.a:libopencv_imgcodecs.a)
else()
  target_link_libraries(caffe_static_opencv INTERFACE caffe_opencv)
endif()
