#include "caffe_ext/bang/balancer.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "caffe_ext/bang/backend.hpp"
#include "caffe_ext/engine/sample_weighted_layer.hpp"

namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using caffe::Net;

template <typename Dtype>
class BangBalancer<Dtype>::Hook final : public Net<Dtype>::Callback {
 public:
  explicit Hook(std::function<void(int)> function) : function_(std::move(function)) {}

 protected:
  void run(int layer) override { function_(layer); }

 private:
  std::function<void(int)> function_;
};

template <typename Dtype>
struct BangBalancer<Dtype>::Balanced {
  BangLayer layer;
  int number;                 // among the balanced layers
  std::vector<bool> learned;  // param_propagate_down of each of the layer's blobs
};

namespace {

// Net has no way to take a callback back; the list that it shows is not const in itself.
template <typename Callback>
void Remove(const std::vector<Callback*>& callbacks, const Callback* callback) {
  auto& list = const_cast<std::vector<Callback*>&>(callbacks);
  list.erase(std::remove(list.begin(), list.end(), callback), list.end());
}

// Reads the blobs on the CPU. In GPU mode, most of Caffe's loss layers write their loss there, and
// Net's Forward only takes a copy of it to the device; one that was computed there is fetched, as
// Net's Forward has done.
template <typename Dtype>
Dtype Loss(const Net<Dtype>& net) {
  Dtype loss = 0;
  for (std::size_t i = 0; i < net.blobs().size(); ++i) {
    const Dtype weight = net.blob_loss_weights()[i];
    if (weight != 0) {
      const Blob<Dtype>& blob = *net.blobs()[i];
      loss += weight * std::accumulate(blob.cpu_data(), blob.cpu_data() + blob.count(), Dtype(0));
    }
  }
  return loss;
}

template <typename Dtype>
void WarnAboutBatchNorm(const Net<Dtype>& net) {
  for (std::size_t i = 0; i < net.layers().size(); ++i) {
    const caffe::LayerParameter& param = net.layers()[i]->layer_param();
    if (param.type() == "BatchNorm" && !param.batch_norm_param().use_global_stats()) {
      LOG_IF(WARNING, caffe::Caffe::root_solver())
          << "BANG: BatchNorm layer '" << param.name()
          << "' mixes the samples of a batch; below it "
          << "a sample's gradient is that of the whole batch's loss with respect to its own row.";
    }
  }
}

}  // namespace

template <typename Dtype>
BangBalancer<Dtype>::BangBalancer(caffe::shared_ptr<Net<Dtype>> net,
                                  const caffe::BangParameter& param,
                                  std::function<bool()> debug_info,
                                  std::function<void(Dtype)> begin_pass)
    : net_(std::move(net)),
      debug_info_(std::move(debug_info)),
      begin_pass_(std::move(begin_pass)),
      misclassification_(*net_, param.loss_layer()),
      forward_(new Hook([this](int) { last_layer_ = -1; })),
      before_backward_(new Hook([this](int layer) { BeforeLayer(layer); })),
      after_backward_(new Hook([this](int layer) { AfterLayer(layer); })) {
  std::string of_one_sample;
  for (BangLayer& layer : FindBangLayers(*net_, param)) {
    const int batch = net_->top_vecs()[layer.index][0]->shape(0);
    if (batch == 1) {
      of_one_sample += (of_one_sample.empty() ? "" : ", ") + layer.name;
    }
    if (layer.settings.incorrect_ratio != 1) {
      CheckLabels(layer, batch);
    }
    LOG_IF(INFO, caffe::Caffe::root_solver())
        << "BANG balances " << layer.name << ": beta = " << layer.settings.beta
        << ", epsilon = " << layer.settings.epsilon
        << ", incorrect_ratio = " << layer.settings.incorrect_ratio;
    layers_.emplace_back(new Balanced{std::move(layer), static_cast<int>(layers_.size()), {}});
  }
  if (!layers_.empty()) {
    WarnAboutBatchNorm(*net_);
  }
  LOG_IF(WARNING, !of_one_sample.empty() && caffe::Caffe::root_solver())
      << "BANG: the batch has a single sample at " << of_one_sample
      << ": there is nothing to balance; training uses the plain gradient times beta. "
         "iter_size does not help, because each pass is balanced on its own.";
  net_->add_after_forward(forward_.get());
  net_->add_before_backward(before_backward_.get());
  net_->add_after_backward(after_backward_.get());
}

template <typename Dtype>
void BangBalancer<Dtype>::CheckLabels(const BangLayer& layer, int batch) const {
  const std::string prefix = "BANG: layer '" + layer.name + "' has an incorrect_ratio, but ";
  if (!misclassification_.available()) {
    throw std::invalid_argument(prefix +
                                "the net has no loss layer with class scores and one label "
                                "per sample (SoftmaxWithLoss, HingeLoss ...)");
  }
  if (misclassification_.samples() != batch) {
    throw std::invalid_argument(prefix + "its top has " + std::to_string(batch) +
                                " samples where the loss layer '" +
                                misclassification_.loss_layer() + "' has " +
                                std::to_string(misclassification_.samples()) + " labels");
  }
}

template <typename Dtype>
BangBalancer<Dtype>::~BangBalancer() {
  Remove<typename Net<Dtype>::Callback>(net_->after_forward(), forward_.get());
  Remove<typename Net<Dtype>::Callback>(net_->before_backward(), before_backward_.get());
  Remove<typename Net<Dtype>::Callback>(net_->after_backward(), after_backward_.get());
}

template <typename Dtype>
typename BangBalancer<Dtype>::Balanced* BangBalancer<Dtype>::Find(int index) {
  for (const auto& layer : layers_) {
    if (layer->layer.index == index) {
      return layer.get();
    }
  }
  return nullptr;
}

// Chosen in each pass anew: pycaffe's set_mode_gpu may come after the solver.
template <typename Dtype>
BangBackend<Dtype>& BangBalancer<Dtype>::Backend() {
  const caffe::Caffe::Brew mode = caffe::Caffe::mode();
  if (!backend_ || mode != mode_) {
    backend_ = MakeBangBackend<Dtype>(mode, static_cast<int>(layers_.size()));
    mode_ = mode;
  }
  return *backend_;
}

template <typename Dtype>
void BangBalancer<Dtype>::BeforeLayer(int index) {
  // A pass runs from a later layer to an earlier one.
  if (last_layer_ < 0 || index >= last_layer_) {
    BeginPass();
  }
  last_layer_ = index;
  if (Balanced* balanced = Find(index)) {
    ComputeWeightGradient(balanced);
  }
}

template <typename Dtype>
void BangBalancer<Dtype>::BeginPass() {
  if (begin_pass_) {
    begin_pass_(Loss(*net_));
  }
  if (misclassification_.available()) {
    Backend().Classify(misclassification_);
  }
}

template <typename Dtype>
void BangBalancer<Dtype>::ComputeWeightGradient(Balanced* balanced) {
  const int index = balanced->layer.index;
  Layer<Dtype>& layer = *net_->layers()[index];
  const std::vector<Blob<Dtype>*>& tops = net_->top_vecs()[index];
  const std::vector<Blob<Dtype>*>& bottoms = net_->bottom_vecs()[index];
  balanced->learned.clear();
  if (tops[0]->shape(0) == 0) {
    return;  // No sample, nothing to balance: the net's own call does what there is to do.
  }

  if (balanced->layer.settings.incorrect_ratio != 1) {
    CheckLabels(balanced->layer, tops[0]->shape(0));  // again: the net may have been reshaped
  }
  auto* weighs = dynamic_cast<SampleWeightedLayer<Dtype>*>(&layer);
  const Dtype* factors =
      weighs != nullptr && weighs->SupportsSampleWeights()
          ? Backend().ComputeFactors(balanced->number, balanced->layer.settings, tops)
          : nullptr;
  if (factors != nullptr) {
    weighs->BackwardWeights(tops, factors, bottoms);
  } else {
    RunOnScaledCopy(*balanced);
  }

  for (int i = 0; i < static_cast<int>(layer.blobs().size()); ++i) {
    balanced->learned.push_back(layer.param_propagate_down(i));
    layer.set_param_propagate_down(i, false);
  }
}

template <typename Dtype>
void BangBalancer<Dtype>::RunOnScaledCopy(const Balanced& balanced) {
  const int index = balanced.layer.index;
  const std::vector<Blob<Dtype>*>& tops = net_->top_vecs()[index];
  const std::vector<Blob<Dtype>*>& bottoms = net_->bottom_vecs()[index];
  std::vector<Blob<Dtype>*> scaled;
  for (std::size_t j = 0; j < tops.size(); ++j) {
    if (j == scaled_.size()) {
      scaled_.emplace_back(new Blob<Dtype>());
      original_.emplace_back(new Blob<Dtype>());
    }
    scaled_[j]->ReshapeLike(*tops[j]);
    scaled.push_back(scaled_[j].get());
  }
  Backend().Balance(balanced.number, balanced.layer.settings, tops, scaled);

  // The diffs change places, not the blobs: a layer that works in place tells that by its blobs.
  for (std::size_t j = 0; j < tops.size(); ++j) {
    original_[j]->ReshapeLike(*tops[j]);
    original_[j]->ShareDiff(*tops[j]);
    tops[j]->ShareDiff(*scaled_[j]);
  }
  net_->layers()[index]->Backward(tops, std::vector<bool>(bottoms.size(), false), bottoms);
  for (std::size_t j = 0; j < tops.size(); ++j) {
    tops[j]->ShareDiff(*original_[j]);
  }
}

template <typename Dtype>
void BangBalancer<Dtype>::AfterLayer(int index) {
  Balanced* balanced = Find(index);
  if (balanced == nullptr || balanced->learned.empty()) {
    return;
  }
  Layer<Dtype>& layer = *net_->layers()[index];
  for (std::size_t i = 0; i < balanced->learned.size(); ++i) {
    layer.set_param_propagate_down(static_cast<int>(i), balanced->learned[i]);
  }
  if (debug_info_ && debug_info_()) {
    LogWeightGradients(*balanced);
  }
}

// The lines that Net::BackwardDebugInfo would have written.
template <typename Dtype>
void BangBalancer<Dtype>::LogWeightGradients(const Balanced& balanced) const {
  const Layer<Dtype>& layer = *net_->layers()[balanced.layer.index];
  auto& blobs = const_cast<Layer<Dtype>&>(layer).blobs();
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    if (balanced.learned[i]) {
      LOG_IF(INFO, caffe::Caffe::root_solver())
          << "    [Backward] Layer " << balanced.layer.name << ", param blob " << i
          << " diff: " << blobs[i]->asum_diff() / blobs[i]->count();
    }
  }
}

template <typename Dtype>
std::vector<BangStatistics> BangBalancer<Dtype>::Statistics() const {
  std::vector<BangStatistics> statistics(layers_.size());
  if (backend_) {
    statistics = backend_->Statistics();
  }
  for (const auto& layer : layers_) {
    statistics[layer->number].layer = layer->layer.name;
  }
  return statistics;
}

template <typename Dtype>
double BangBalancer<Dtype>::MisclassifiedShare() const {
  return backend_ ? backend_->MisclassifiedShare() : -1;
}

template <typename Dtype>
void BangBalancer<Dtype>::ResetStatistics() {
  if (backend_) {
    backend_->Reset();
  }
}

template class BangBalancer<float>;
template class BangBalancer<double>;

}  // namespace caffe_ext
