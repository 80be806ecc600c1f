#pragma once

#include <caffe/net.hpp>
#include <string>
#include <vector>

#include "caffe_ext/bang/statistics.hpp"

namespace caffe_ext {

/// The number of values in the outputs of a net, which Caffe numbers from 0 in its log.
template <typename Dtype>
int CountOutputs(const caffe::Net<Dtype>& net);

/// "the loss is nan", without the sign that a processor may give it, or "the loss is inf".
std::string DescribeLoss(double loss);

/// Log a figure as Caffe logs outputs of the training net, with this number, and increment it.
void LogTrainOutput(int* number, const std::string& name, double value);

/// @brief Log BANG's statistics in the format of Caffe's own outputs, so that its log parsers and
///   plotters treat them as further outputs of the training net:
///
///     Train net output #1: conv1_log10_eta_mean = 2.31
///
/// For each layer, log10_eta_mean, log10_eta_max and zero_gradients (a share), then, if the net has
/// labels, misclassified (a share).
///
/// @param first number of the first line: the number of values in the net's own outputs
/// @param misclassified negative: not known
void LogBangStatistics(int first, const std::vector<BangStatistics>& layers, double misclassified);

/// @brief The same figures as a CSV file, one row per layer and iteration.
///
/// Opened before the first iteration: training that starts at iteration 0 does not overwrite an
/// existing file; training that resumes, or has gone back, drops the rows from its iteration on and
/// appends to the others. Names with commas or quotes are quoted (RFC 4180). A symbolic link is
/// kept.
class BangCsv {
 public:
  explicit BangCsv(std::string path) : path_(std::move(path)) {}

  /// @brief Check what is possible before training.
  /// @throws std::runtime_error naming the file: it is not a file (a folder, FIFO ...) or cannot
  /// be written
  void CheckPath() const;
  bool is_open() const { return open_; }
  /// @brief Create the file, or prepare it for rows from `iteration` on.
  /// @throws std::runtime_error as CheckPath; also if it exists already, or is not such a file
  void Open(int iteration);
  /// @throws std::runtime_error naming the file: it cannot be written (a full disk), and as Open
  void Append(int iteration, const std::vector<BangStatistics>& layers, double misclassified);

 private:
  std::string PartialPath() const;

  std::string path_;
  bool open_ = false;
  int last_iteration_ = -1;
};

}  // namespace caffe_ext
