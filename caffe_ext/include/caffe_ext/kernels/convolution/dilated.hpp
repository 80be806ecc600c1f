#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// A dilated convolution without a stride as one that is not dilated: under the kernel in any one
/// position lie values of one phase only, those at equal places between two steps of the dilation.
/// The phases of an image become images, which Winograd's filtering can convolve.
///
/// The dilations may differ by axis; an image has dilation_height x dilation_width phases.
namespace caffe_ext {

/// @brief The convolution of the phases, without pads: the images of an image's phases follow each
///   other, and have the zeros around the image that they see.
/// @param shape dilated, without a stride
ConvolutionShape FindPhaseShape(const ConvolutionShape& shape);

/// As ConvolutionForward, for a shape as above.
void DilatedForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                    const Epilogue& epilogue, float* top);

/// As ConvolutionBackwardWeights, for a shape as above.
void DilatedBackwardWeights(const ConvolutionShape& shape, const float* bottom,
                            const float* top_diff, const float* factors, float* weight_diff,
                            float* bias_diff);

/// As ConvolutionBackwardData, for a shape as above.
void DilatedBackwardData(const ConvolutionShape& shape, const float* top_diff, const float* weights,
                         float* bottom_diff);

}  // namespace caffe_ext
