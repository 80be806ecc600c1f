#include "caffe_ext/kernels/convolution/dilated.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

enum Slot : std::uint8_t { kBottomPhases = 4, kTopPhases = 5 };

/// Planes with pads around them, and how their phases are arranged.
struct PhasedPlanes {
  int images, channels, height, width, pad_height, pad_width;
  int vertical, horizontal;       ///< phases
  int phase_height, phase_width;  ///< at least as large as each phase

  int Phases() const { return vertical * horizontal; }
  std::ptrdiff_t PhaseSize() const { return std::ptrdiff_t{phase_height} * phase_width; }
  std::ptrdiff_t Size() const { return std::ptrdiff_t{images} * Phases() * channels * PhaseSize(); }
};

int DivideUp(int a, int b) { return (a + b - 1) / b; }

PhasedPlanes Bottom(const ConvolutionShape& s, const ConvolutionShape& phases) {
  return {s.images,    s.channels,        s.height,         s.width,       s.pad_height,
          s.pad_width, s.dilation_height, s.dilation_width, phases.height, phases.width};
}

PhasedPlanes Top(const ConvolutionShape& s, const ConvolutionShape& phases) {
  return {s.images, s.outputs,         s.OutHeight(),    s.OutWidth(),       0,
          0,        s.dilation_height, s.dilation_width, phases.OutHeight(), phases.OutWidth()};
}

/// Calls `visit(plane, phase)` for each plane of each image, and for it the plane of one of its
/// phases; and with which phase that is.
template <typename Visit>
void ForPhases(const PhasedPlanes& p, const Visit& visit) {
  const int count = p.images * p.Phases() * p.channels;
  ParallelParts(count, ChooseParts(count, p.Size()), [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      const int phase = i / p.channels % p.Phases();
      const std::ptrdiff_t plane =
          std::ptrdiff_t{i / p.channels / p.Phases()} * p.channels + i % p.channels;
      visit(plane * p.height * p.width, i * p.PhaseSize(), phase / p.horizontal,
            phase % p.horizontal);
    }
  });
}

/// The values of a line of `count` behind `pad` zeros that belong to a phase.
struct Line {
  int first;  ///< in the line
  int begin;  ///< in the phase: before it are zeros,
  int end;    ///< and behind this

  Line(int phase, int pad, int count, int step) {
    begin = std::max(0, DivideUp(pad - phase, step));
    first = phase + begin * step - pad;
    end = first < count ? begin + DivideUp(count - first, step) : begin;
  }
};

CAFFE_EXT_CLONES void SplitPlane(const PhasedPlanes& p, const Line& y, const Line& x,
                                 const float* plane, float* phase) {
  const int step = p.horizontal;
  for (int row = 0; row < p.phase_height; ++row, phase += p.phase_width) {
    if (row < y.begin || row >= y.end) {
      std::fill(phase, phase + p.phase_width, 0.0F);
      continue;
    }
    const float* from =
        plane + std::ptrdiff_t{y.first + (row - y.begin) * p.vertical} * p.width + x.first;
    std::fill(phase, phase + x.begin, 0.0F);
    for (int i = x.begin; i < x.end; ++i, from += step) {
      phase[i] = *from;
    }
    std::fill(phase + x.end, phase + p.phase_width, 0.0F);
  }
}

CAFFE_EXT_CLONES void JoinPlane(const PhasedPlanes& p, const Line& y, const Line& x,
                                const float* phase, float* plane) {
  const int step = p.horizontal;
  for (int row = y.begin; row < y.end; ++row) {
    const float* from = phase + std::ptrdiff_t{row} * p.phase_width;
    float* to = plane + std::ptrdiff_t{y.first + (row - y.begin) * p.vertical} * p.width + x.first;
    for (int i = x.begin; i < x.end; ++i, to += step) {
      *to = from[i];
    }
  }
}

/// The phases of all images, in this thread's buffer.
const float* Split(const PhasedPlanes& p, const float* images, Slot slot) {
  float* phases = GetThreadBuffer(slot, p.Size());
  ForPhases(p, [&](std::ptrdiff_t plane, std::ptrdiff_t phase, int y, int x) {
    SplitPlane(p, Line(y, p.pad_height, p.height, p.vertical),
               Line(x, p.pad_width, p.width, p.horizontal), images + plane, phases + phase);
  });
  return phases;
}

/// The reverse; each value is in one phase.
void Join(const PhasedPlanes& p, const float* phases, float* images) {
  ForPhases(p, [&](std::ptrdiff_t plane, std::ptrdiff_t phase, int y, int x) {
    JoinPlane(p, Line(y, p.pad_height, p.height, p.vertical),
              Line(x, p.pad_width, p.width, p.horizontal), phases + phase, images + plane);
  });
}

}  // namespace

ConvolutionShape FindPhaseShape(const ConvolutionShape& s) {
  ConvolutionShape phases = s;
  phases.images *= s.dilation_height * s.dilation_width;
  phases.height = DivideUp(s.OutHeight(), s.dilation_height) + s.kernel_height - 1;
  phases.width = DivideUp(s.OutWidth(), s.dilation_width) + s.kernel_width - 1;
  phases.pad_height = phases.pad_width = 0;
  phases.dilation_height = phases.dilation_width = 1;
  return phases;
}

void DilatedForward(const ConvolutionShape& s, const float* bottom, const float* weights,
                    const Epilogue& epilogue, float* top) {
  const ConvolutionShape phases = FindPhaseShape(s);
  const PhasedPlanes outputs = Top(s, phases);
  float* top_phases = GetThreadBuffer(kTopPhases, outputs.Size());
  ConvolutionForward(phases, Split(Bottom(s, phases), bottom, kBottomPhases), weights, Epilogue(),
                     top_phases);
  Join(outputs, top_phases, top);
  FinishImages(epilogue, {s.images, s.outputs, s.Positions()}, top);
}

void DilatedBackwardWeights(const ConvolutionShape& s, const float* bottom, const float* top_diff,
                            const float* factors, float* weight_diff, float* bias_diff) {
  const ConvolutionShape phases = FindPhaseShape(s);
  std::vector<float> of_phases;
  if (factors != nullptr) {
    const int count = s.dilation_height * s.dilation_width;
    for (int image = 0; image < s.images; ++image) {
      of_phases.insert(of_phases.end(), count, factors[image]);
    }
  }
  ConvolutionBackwardWeights(phases, Split(Bottom(s, phases), bottom, kBottomPhases),
                             Split(Top(s, phases), top_diff, kTopPhases),
                             factors != nullptr ? of_phases.data() : nullptr, weight_diff,
                             bias_diff);
}

void DilatedBackwardData(const ConvolutionShape& s, const float* top_diff, const float* weights,
                         float* bottom_diff) {
  const ConvolutionShape phases = FindPhaseShape(s);
  const PhasedPlanes inputs = Bottom(s, phases);
  float* bottom_phases = GetThreadBuffer(kBottomPhases, inputs.Size());
  ConvolutionBackwardData(phases, Split(Top(s, phases), top_diff, kTopPhases), weights,
                          bottom_phases);
  Join(inputs, bottom_phases, bottom_diff);
}

}  // namespace caffe_ext
