#pragma once

#include <cuda_runtime.h>

namespace caffe_ext {

/// How many samples were misclassified; in device memory, and all 0 at first.
struct MisclassifiedCount {
  unsigned sum;       ///< Since it last began anew.
  unsigned pending;   ///< Of the launch that is at work; else 0.
  unsigned finished;  ///< Its blocks that are done; else 0.
};

/// @brief Flag the samples that are misclassified, as Misclassification says: the argmax of the
///   scores, the first of equals, is not the label.
///
/// In one launch; the host waits for nothing. As std::max_element has it, NaN is never larger
/// than another score, and no score is larger than NaN in the first place.
///
/// @param scores `samples` x `classes` values; all pointers but `ignore_label` are to device memory
/// @param labels one a sample
/// @param ignore_label samples with this label are not misclassified; null: no such label
/// @param flags one a sample: 1 if it is misclassified, else 0
/// @param add the number of misclassified samples is added to `count->sum`; else it replaces it
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void MarkMisclassified(const Dtype* scores, const Dtype* labels, int samples, int classes,
                       const int* ignore_label, char* flags, MisclassifiedCount* count, bool add,
                       cudaStream_t stream);

}  // namespace caffe_ext
