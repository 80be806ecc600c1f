#pragma once

#include <caffe/net.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/bang/misclassification.hpp"
#include "caffe_ext/bang/settings.hpp"
#include "caffe_ext/bang/statistics.hpp"

namespace caffe_ext {

template <typename Dtype>
class BangBackend;

/**
 * @brief Makes a net's backward pass compute the weight gradients of BANG.
 *
 * For a layer l with weights W, a batch of samples i = 1..N and the derivatives of the loss with
 * respect to the layer's outputs, @f$ \kappa_i = \partial E / \partial y_i^{(l)} @f$, one row of
 * the top diff per sample:
 * @f[
 *   r_i = \frac{||\kappa_i||_2}{\max_j ||\kappa_j||_2}, \qquad
 *   \eta_i = (1 / r_i)^{\epsilon_i (1 - r_i)}, \quad \eta_i = 1 \text{ where } r_i = 0, \qquad
 *   \frac{\partial E}{\partial W} = \beta \sum_i \eta_i \frac{\partial E_i}{\partial W}
 * @f]
 * for weights and biases. @f$ \epsilon_i @f$ is epsilon, times incorrect_ratio if the net
 * misclassifies sample i. The gradient that is passed down the net is unchanged.
 *
 * How: Net calls back before and after each layer's Backward. Before it, the layer runs once on a
 * scaled copy of its top diff for the weights only; then its weights are switched off, so that the
 * net's own call computes only the bottom diff, from the original top diff. No matrix product is
 * computed twice. The engine's layers need no copy: they apply the factors when summing.
 *
 * In Caffe's GPU mode, all of this happens on the GPU: one launch per layer, and one per pass that
 * finds the misclassified samples. The host waits for the device only in Statistics and
 * MisclassifiedShare, and for the loss, as Net's Forward does.
 *
 * - A layer with several tops: row i is sample i of all of them together.
 * - Weights shared by several layers: each layer balances its own top diff; the gradients add up.
 * - iter_size: each pass is balanced separately.
 * - Several GPUs (`caffe train --gpu all`): each has its part of the batch and its own net;
 *   Caffe averages their weight gradients. Each part is balanced separately, like the passes of
 *   iter_size: G GPUs train the weights that one GPU trains with iter_size G. With E_g, the
 *   loss of part P_g, and the largest norm of the part alone,
 *   @f[
 *     \frac{\partial E}{\partial W}
 *         = \frac{1}{G} \sum_{g=1}^{G} \beta \sum_{i \in P_g} \eta_i^{(g)}
 *           \frac{\partial E_{g,i}}{\partial W}, \qquad
 *     r_i^{(g)} = \frac{||\kappa_i||_2}{\max_{j \in P_g} ||\kappa_j||_2}
 *   @f]
 *   If the parts have the same largest norm, that is the gradient of one net with the whole
 *   batch. Otherwise @f$ 1 \le \eta_i^{(g)} \le \eta_i @f$: in a part without the largest gradients
 *   samples are raised less. The maximum over all parts would need a collective call for each
 *   layer, between its norms and its copy, and before each such call Caffe's threads wait for
 *   each other on the host. The log has the root's part.
 * - BatchNorm with batch statistics mixes the samples: below it, @f$ \kappa_i @f$ is the derivative
 *   of the whole batch's loss with respect to row i. This is balanced, and a warning says so.
 *
 * Source: A. Rozsa, M. Günther, T. E. Boult, "Towards Robust Deep Neural Networks with BANG",
 * WACV 2018, Section 3.2. Tests: tests/cpp/bang/test_balancer.cpp compares it with samples that run
 * one by one, tests/cpp/bang/test_balancer_parts.cpp the parts of several GPUs against the whole
 * batch.
 */
template <typename Dtype>
class BangBalancer {
 public:
  /// @param net the training net; from now on its Backward computes the gradients of BANG
  /// @param debug_info asked in every pass: whether to log the gradients of the weights as Net does
  /// under
  ///   debug_info. Net itself no longer sees them.
  /// @param begin_pass called with the loss before the first layer of a pass runs: the sum over the
  ///   blobs that have a loss weight. It may throw, to stop the pass there.
  /// @throws std::invalid_argument as FindBangLayers and Misclassification do; also if some
  ///   incorrect_ratio is not 1 and the net has no loss layer with a label for each sample.
  BangBalancer(caffe::shared_ptr<caffe::Net<Dtype>> net, const caffe::BangParameter& param,
               std::function<bool()> debug_info,
               std::function<void(Dtype loss)> begin_pass = nullptr);
  ~BangBalancer();
  BangBalancer(const BangBalancer&) = delete;
  BangBalancer& operator=(const BangBalancer&) = delete;

  /// Layers in the order of the net, since the last Reset, or change of Caffe's mode.
  std::vector<BangStatistics> Statistics() const;
  /// Share of misclassified samples since the last Reset; negative if the net has no labels.
  double MisclassifiedShare() const;
  void ResetStatistics();

 private:
  // Net's hook, and its two ends here.
  class Hook;
  struct Balanced;

  void CheckLabels(const BangLayer& layer, int batch) const;
  void BeforeLayer(int index);
  void AfterLayer(int index);
  void BeginPass();
  void ComputeWeightGradient(Balanced* balanced);
  void RunOnScaledCopy(const Balanced& balanced);
  void LogWeightGradients(const Balanced& balanced) const;
  Balanced* Find(int index);
  BangBackend<Dtype>& Backend();

  caffe::shared_ptr<caffe::Net<Dtype>> net_;
  std::function<bool()> debug_info_;
  std::function<void(Dtype)> begin_pass_;
  Misclassification<Dtype> misclassification_;
  std::unique_ptr<Hook> forward_, before_backward_, after_backward_;

  std::vector<std::unique_ptr<Balanced>> layers_;
  // Scratch for all layers: copy j replaces the diff of top j while its layer runs.
  std::vector<std::unique_ptr<caffe::Blob<Dtype>>> scaled_, original_;
  std::unique_ptr<BangBackend<Dtype>> backend_;  // for mode_
  caffe::Caffe::Brew mode_ = caffe::Caffe::CPU;

  int last_layer_ = -1;  // in this backward pass; -1: the net has run forward since
};

}  // namespace caffe_ext
