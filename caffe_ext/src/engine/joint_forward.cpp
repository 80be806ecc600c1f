// Runs layers of a net jointly; see joint_layer.hpp.
#include <caffe/net.hpp>

#include "caffe_ext/engine/joint_layer.hpp"

namespace caffe_ext {

namespace {

/// Whether a layer writes one blob, and has no loss.
bool WritesOne(const caffe::Net<float>& net, int index) {
  return net.top_vecs()[index].size() == 1 && net.layers()[index]->loss(0) == 0;
}

/// @return how many layers from `first` on have run; 0: none
int RunJointly(const caffe::Net<float>& net, int first, int last) {
  auto* layer = dynamic_cast<JointLayer*>(net.layers()[first].get());
  if (layer == nullptr || caffe::Caffe::mode() != caffe::Caffe::CPU || !WritesOne(net, first)) {
    return 0;
  }
  const Blobs& bottom = net.bottom_vecs()[first];
  const Blobs& own = net.top_vecs()[first];
  net.layers()[first]->Reshape(bottom, own);
  Epilogue epilogue;
  const Blobs* top = &own;
  int next = first + 1;
  for (; next <= last && net.bottom_vecs()[next] == *top && WritesOne(net, next); ++next) {
    const Blobs& to = net.top_vecs()[next];
    auto* follower = dynamic_cast<EpilogueLayer*>(net.layers()[next].get());
    const bool in_place = to == *top;
    if (follower == nullptr || (!in_place && next > first + 1)) {
      break;
    }
    net.layers()[next]->Reshape(*top, to);
    Epilogue longer = epilogue;
    longer.raw = in_place ? epilogue.raw : own[0]->mutable_cpu_data();
    if (!follower->Join(*top, to, net.layer_need_backward()[next], &longer) ||
        !layer->Supports(longer)) {
      break;
    }
    epilogue = longer;
    top = &to;
  }
  if (next == first + 1) {
    return 0;
  }
  layer->ForwardJointly(bottom, *top, epilogue);
  return next - first;
}

const bool set = [] {
  caffe::Net<float>::set_joint_forward(&RunJointly);
  return true;
}();

}  // namespace

}  // namespace caffe_ext
