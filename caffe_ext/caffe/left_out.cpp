// What OpenCV calls instead of the libraries that static_opencv.py leaves out. See there.

#include <opencv2/core/version.hpp>
#include <stdexcept>

extern "C" {

// OpenCV catches it, says which file it could not read, and returns no image.
[[noreturn]] void caffe_left_out_refuse() {
  throw std::runtime_error(
      "this Caffe reads no images in the formats NITF, DTED, DICOM and OpenEXR");
}

void caffe_left_out_ignore() {}

// No file tells it, where OpenCV is a part of libcaffe.
__attribute__((visibility("default"))) const char* caffe_opencv_version() { return CV_VERSION; }

}  // extern "C"
