#pragma once

#include <string>
#include <vector>

#include "caffe_ext/bang/statistics.hpp"

namespace caffe_ext {

/// @brief Log BANG's statistics in the form of Caffe's own outputs, so that its log parsers and
///   plotters take them for further outputs of the training net:
///
///     Train net output #1: conv1_eta_mean = 2.31
///
/// For each layer eta_mean, eta_max and zero_gradients (a share), then, if the net has labels,
/// misclassified (a share).
///
/// @param first number of the first line: as many as the net's own outputs have values
/// @param misclassified negative: not known
void LogBangStatistics(int first, const std::vector<BangStatistics>& layers, double misclassified);

/// @brief The same figures as a CSV file, a row for each layer and iteration.
///
/// Opened at the first row: training that starts at iteration 0 does not overwrite a file that
/// exists; training that resumes, or has gone back, drops the rows from its iteration on and goes
/// on behind the others.
class BangCsv {
 public:
  explicit BangCsv(std::string path) : path_(std::move(path)) {}

  /// @throws std::runtime_error naming the file: it exists already, is not such a file, or cannot
  ///   be written.
  void Append(int iteration, const std::vector<BangStatistics>& layers, double misclassified);

 private:
  void Open(int iteration);

  std::string path_;
  bool open_ = false;
  int last_iteration_ = -1;
};

}  // namespace caffe_ext
