#pragma once

#include <cuda_runtime.h>

namespace caffe_ext {

/// How many samples were misclassified; in device memory, initially all 0.
struct MisclassifiedCount {
  unsigned sum;       ///< Since it was last replaced.
  unsigned pending;   ///< Of the current launch; else 0.
  unsigned finished;  ///< Finished blocks of the current launch; else 0.
};

/// @brief Flags the misclassified samples, as defined by Misclassification: the argmax of the
///   scores, the first of equals, is not the label.
///
/// In one launch; the host does not wait. As with std::max_element, NaN is never larger than
/// another score, and no score is larger than a NaN at the first position.
///
/// @param scores `samples` x `classes` values; all pointers but `ignore_label` are to device memory
/// @param labels one per sample
/// @param ignore_label samples with this label are not misclassified; null: no such label
/// @param flags one per sample: 1 if it is misclassified, else 0
/// @param add whether the number of misclassified samples is added to `count->sum`; else it
///   replaces it
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void MarkMisclassified(const Dtype* scores, const Dtype* labels, int samples, int classes,
                       const int* ignore_label, char* flags, MisclassifiedCount* count, bool add,
                       cudaStream_t stream);

}  // namespace caffe_ext
