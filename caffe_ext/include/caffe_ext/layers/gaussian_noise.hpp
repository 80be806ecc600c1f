#pragma once

#include <caffe/layers/neuron_layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "GaussianNoise": independent noise on each value, in each pass.
 * @f[ y = x + s \, \sigma \, z, \qquad z \sim N(0, 1), \qquad dE/dx = dE/dy @f]
 *
 * For training and testing with noise on the input, or between layers. In a prototxt:
 * @code
 *   layer {
 *     name: "noise" type: "GaussianNoise" bottom: "data" top: "noisy"
 *     caffe_ext_param { gaussian_noise { sigma: 8 scale: 0.00390625 phases: TRAIN } }
 *   }
 * @endcode
 * sigma times scale is in the units of x. Here sigma is 8 grey levels, of images that
 * transform_param { scale: 0.00390625 } has brought to [0, 1). `phases` says in which phases there
 * is noise: TRAIN (as with Dropout), TEST or ALL; in the other one, y = x. Results are not clipped.
 *
 * Bottom and top have the same shape, which may be any, and may be the same blob. The numbers come
 * from Caffe's generator for the device: random_seed in a solver file, or caffe.set_random_seed,
 * makes them the same in each run.
 *
 * A pattern for further layers of the plug-in. Each has
 * - its parameters: a message, and a field of CaffeExtParameter, in
 *   caffe_ext/proto/caffe/proto/caffe_ext.proto; caffe.proto stays as it is, and Python's caffe_pb2
 *   knows them;
 * - a header in caffe_ext/include/caffe_ext/layers/ with the equation, units and errors, and a
 *   source in caffe_ext/src/layers/, listed in CMakeLists.txt. Arithmetic that Caffe lacks is in
 *   kernels/, where it is tested on its own;
 * - LayerSetUp, which rejects bad parameters with a std::invalid_argument that names the layer,
 *   before any work (a CHECK would end the user's Python);
 * - RegisterLayer in its source, which makes the type known when the plug-in is loaded;
 * - a test in tests/cpp/layers/, with finite differences (Caffe's GradientChecker), which ctest
 *   also runs on the emulated GPU. BANG balances only layers whose weight gradients it knows
 *   (bang/settings.hpp).
 */
template <typename Dtype>
class GaussianNoiseLayer : public caffe::NeuronLayer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::NeuronLayer<Dtype>::NeuronLayer;
  const char* type() const override { return "GaussianNoise"; }
  /// @throws std::invalid_argument if sigma is missing, negative or not finite, or scale is not a
  ///   finite number above 0
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  bool IsActive() const;

  Dtype deviation_ = 0;       // scale * sigma
  caffe::Blob<Dtype> noise_;  // with an even number of values, as cuRAND requires
};

}  // namespace caffe_ext
