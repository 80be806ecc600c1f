#pragma once

#include <vector>

/// Wong and Kolter's dual bound (2018, Algorithm 1) of the units of an inner layer.
namespace caffe_ext {

/// A convolution, or an inner product of all values, of a blob channels x height x width.
struct ChainLayer {
  bool is_convolution;
  int outputs;
  int kernel, stride, pad;      ///< of a convolution; the same for height and width
  int channels, height, width;  ///< of the blob below
  int out_height, out_width;    ///< 1 x 1 for an inner product

  /// The values of the blob below that an output's weights belong to.
  int Fan() const { return channels * (is_convolution ? kernel * kernel : height * width); }
  int Below() const { return channels * height * width; }
  int Units() const { return outputs * out_height * out_width; }

  bool operator==(const ChainLayer& other) const {
    return is_convolution == other.is_convolution && outputs == other.outputs &&
           kernel == other.kernel && stride == other.stride && pad == other.pad &&
           channels == other.channels && height == other.height && width == other.width;
  }
};

/// @brief How far the units of the last of several linear layers, with a ReLU between each two, can
/// move from the value of the net whose ReLUs are multiplications by their slopes.
///
/// The input moves by at most epsilon per value. A unit's row of coefficients goes down the net:
/// @f[ A_L = W_L, \qquad \nu_k = A_k \odot d_k, \qquad A_{k-1} = \nu_k W_{k-1} @f]
/// @f[ up = \epsilon \sum_p |A_{1,p}| + \sum_{k,i} h_{ki} [\nu_{ki}]_+, \qquad
///     down = \epsilon \sum_p |A_{1,p}| + \sum_{k,i} h_{ki} [-\nu_{ki}]_+ @f]
/// with the slopes d and heights h of the layer ReLURelaxation. Rows are computed for one position
/// of the last layer at a time, and only in the window that it sees.
/// @tparam Dtype float or double
template <typename Dtype>
class DualSpread {
 public:
  using Pointers = std::vector<Dtype*>;
  using ConstPointers = std::vector<const Dtype*>;

  /// @param layers from the input on, at least one
  explicit DualSpread(std::vector<ChainLayer> layers);

  /// @param weights of each layer, outputs x Fan(); they must stay where they are
  void SetWeights(ConstPointers weights);

  /// @brief The spread of one image.
  /// @param slopes,heights of the blobs below layers 2, 3 ..., as these lie in memory
  /// @param up,down Units() values each
  void Compute(const ConstPointers& slopes, const ConstPointers& heights, Dtype epsilon, Dtype* up,
               Dtype* down);

  /// @brief Adds the derivatives for one image, given those by up and down.
  /// @param weights_diff of all layers but the last, whose derivatives AddLastDiff() adds
  void AddDiffs(const ConstPointers& slopes, const ConstPointers& heights, Dtype epsilon,
                const Dtype* up_diff, const Dtype* down_diff, const Pointers& weights_diff,
                const Pointers& slopes_diff, const Pointers& heights_diff);

  /// Adds to the derivatives by the last layer's weights those of AddDiffs() since SetWeights().
  void AddLastDiff(Dtype* weights_diff) const;

 private:
  struct Window {
    int top, left, height, width;
  };
  using Values = std::vector<Dtype>;

  Window Below(std::size_t layer, const Window& window) const;
  void PlaceTile(int position, int first, int rows);
  void ComputeTile(const ConstPointers& slopes, const ConstPointers& heights, Dtype epsilon);
  void AddTileDiffs(const ConstPointers& slopes, const ConstPointers& heights, Dtype epsilon,
                    const Pointers& weights_diff, const Pointers& slopes_diff,
                    const Pointers& heights_diff);
  void PullBack(std::size_t layer);
  void PushForward(std::size_t layer, Dtype* weights_diff);
  template <typename Work>
  void ForValues(std::size_t layer, const Work& work) const;
  template <typename Work>
  void ForTiles(const Work& work);

  std::vector<ChainLayer> layers_;
  ConstPointers weights_;
  Values last_, last_diff_;  // Fan() x outputs
  // The rows first_ .. first_ + rows_ - 1 at a position; below each layer a window, in which values
  // are channels x height x width x rows.
  int position_ = 0, first_ = 0, rows_ = 0;
  std::vector<Window> windows_;
  std::vector<Values> coefficients_, nu_;  // A and nu below each layer
  Values parts_, diff_, next_diff_;
  Values up_, down_, up_diff_, down_diff_;  // of the rows
};

}  // namespace caffe_ext
