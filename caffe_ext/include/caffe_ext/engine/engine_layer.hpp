#pragma once

#include <caffe/proto/caffe.pb.h>
#include <caffe/blob.hpp>
#include <vector>

/// The common part of the engine's layers. Each is a subclass of Caffe's layer of that type, which
/// only replaces the arithmetic; see engine.hpp.
namespace caffe_ext {

using Blobs = std::vector<caffe::Blob<float>*>;

/// Logs whether the engine or Caffe's own code computes a layer, and on which device.
void LogImplementation(const caffe::LayerParameter& layer, bool supported);

}  // namespace caffe_ext
