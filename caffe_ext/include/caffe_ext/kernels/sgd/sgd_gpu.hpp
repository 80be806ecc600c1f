#pragma once

#include <cuda_runtime.h>

#include <vector>

/// Stochastic gradient descent on a GPU.
namespace caffe_ext {

/// One blob of weights in an update; all arrays are of `size` values, in device memory.
template <typename Dtype>
struct SgdBlob {
  Dtype* weights;
  Dtype* gradient;
  Dtype* history;  ///< The update before this one.
  int size;
  Dtype rate;   ///< This blob's own learning rate
  Dtype decay;  ///< and weight decay.
};

enum class Regularization { kL1, kL2 };

/// @brief Updates all weights of a net, with one launch for each kMaxSgdBlobs of them:
///   @f[ h \leftarrow \mu h + \alpha (s \, g + \lambda \, r(w)), \qquad
///       w \leftarrow w - h, \qquad g \leftarrow h @f]
///   with the rate @f$ \alpha @f$, the decay @f$ \lambda @f$, and @f$ r(w) @f$ the sign of w (L1)
///   or w itself (L2).
/// @param scale s, of the gradients
/// @param momentum @f$ \mu @f$
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void UpdateSgd(const std::vector<SgdBlob<Dtype>>& blobs, Dtype scale, Dtype momentum,
               Regularization regularization, cudaStream_t stream);

constexpr int kMaxSgdBlobs = 64;

}  // namespace caffe_ext
