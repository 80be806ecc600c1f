#pragma once

#include "caffe_ext/engine/engine_layer.hpp"
#include "caffe_ext/kernels/convolution/epilogue.hpp"

/// Layers that are computed in one pass: a convolution, or a sum, and what follows it.
namespace caffe_ext {

/// A layer that can pass its outputs through an epilogue before it writes them.
class JointLayer {
 public:
  virtual ~JointLayer() = default;

  /// Whether ForwardJointly() supports the layer's settings; after Reshape.
  virtual bool Supports(const Epilogue& epilogue) = 0;

  /// As Forward, then the epilogue. Its bias is the layer's own.
  virtual void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) = 0;
};

/// A layer that can be the next step of an epilogue.
class EpilogueLayer {
 public:
  virtual ~EpilogueLayer() = default;

  /// @brief Adds the layer to an epilogue, instead of running Forward; after Reshape.
  /// @param needs_backward whether Backward may follow
  /// @return false: it does not fit behind those steps
  virtual bool Join(const Blobs& bottom, const Blobs& top, bool needs_backward,
                    Epilogue* epilogue) = 0;
};

}  // namespace caffe_ext
