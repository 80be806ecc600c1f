// Reads images through libcaffe, of which OpenCV is a part, and through the system's OpenCV, with
// all of its libraries; tells for each file whether all pixels are the same.
//
//   compare_images FILE...      prints "equal", "no image" or "different: ..." for each

#include <algorithm>
#include <caffe/util/io.hpp>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

namespace {

bool Same(const cv::Mat& one, const cv::Mat& other) {
  if (one.type() != other.type() || one.size() != other.size()) {
    return false;
  }
  for (int row = 0; row < one.rows; ++row) {
    if (!std::equal(one.ptr(row), one.ptr(row) + one.cols * one.elemSize(), other.ptr(row))) {
      return false;
    }
  }
  return true;
}

// Returns what a function does, or nothing if it throws, as OpenCV does for some of what it
// refuses.
template <typename Function>
auto Try(Function function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception&) {
    return {};
  }
}

// Returns what differs, or nothing.
std::string Compare(const std::string& file) {
  for (bool color : {false, true}) {
    const int flag = color ? cv::IMREAD_COLOR : cv::IMREAD_GRAYSCALE;
    const cv::Mat image = Try([&] { return cv::imread(file, flag); });
    if (!Same(Try([&] { return caffe::ReadImageToCVMat(file, color); }), image)) {
      return "imread";
    }
    if (image.empty()) {
      continue;
    }
    cv::Mat resized;
    cv::resize(image, resized, cv::Size(23, 17));
    if (!Same(caffe::ReadImageToCVMat(file, 17, 23, color), resized)) {
      return "resize";
    }
    for (const std::string encoding : {"png", "jpg", "bmp", "webp", "tiff", "jp2"}) {
      const auto theirs = Try([&] {
        std::vector<unsigned char> bytes;
        cv::imencode("." + encoding, image, bytes);
        return std::string(bytes.begin(), bytes.end());
      });
      const auto ours = Try([&] {
        caffe::Datum datum;
        caffe::ReadImageToDatum(file, 0, image.rows, image.cols, color, encoding, &datum);
        return datum.data();
      });
      if (ours != theirs) {
        return "imencode " + encoding;
      }
    }
  }
  std::ifstream stream(file, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), {});
  const cv::Mat image = Try([&] { return cv::imdecode(bytes, cv::IMREAD_UNCHANGED); });
  caffe::Datum datum;
  datum.set_encoded(true);
  datum.set_data(bytes.data(), bytes.size());
  if (!Same(Try([&] { return caffe::DecodeDatumToCVMatNative(datum); }), image)) {
    return "imdecode";
  }
  return "";
}

}  // namespace

int main(int count, char** arguments) {
  for (int number = 1; number < count; ++number) {
    const std::string difference = Compare(arguments[number]);
    if (!difference.empty()) {
      std::cout << "different: " << difference << "\n";
    } else {
      std::cout << (Try([&] { return cv::imread(arguments[number]); }).empty() ? "no image"
                                                                               : "equal")
                << "\n";
    }
  }
}
