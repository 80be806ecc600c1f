#pragma once

#include <caffe/net.hpp>
#include <string>
#include <vector>

#include "caffe_ext/bang/statistics.hpp"

namespace caffe_ext {

/// How many values the outputs of a net have: Caffe numbers them from 0 on in its log.
template <typename Dtype>
int CountOutputs(const caffe::Net<Dtype>& net);

/// Log a figure as Caffe logs outputs of the training net, under this number, and count on.
void LogTrainOutput(int* number, const std::string& name, double value);

/// @brief Log BANG's statistics in the form of Caffe's own outputs, so that its log parsers and
///   plotters take them for further outputs of the training net:
///
///     Train net output #1: conv1_log10_eta_mean = 2.31
///
/// For each layer log10_eta_mean, log10_eta_max and zero_gradients (a share), then, if the net has
/// labels, misclassified (a share).
///
/// @param first number of the first line: as many as the net's own outputs have values
/// @param misclassified negative: not known
void LogBangStatistics(int first, const std::vector<BangStatistics>& layers, double misclassified);

/// @brief The same figures as a CSV file, a row for each layer and iteration.
///
/// Opened before the first iteration: training that starts at iteration 0 does not overwrite a file
/// that exists; training that resumes, or has gone back, drops the rows from its iteration on and
/// goes on behind the others. Names with commas or quotes are quoted (RFC 4180). A symbolic link
/// stays one.
class BangCsv {
 public:
  explicit BangCsv(std::string path) : path_(std::move(path)) {}

  /// @brief Check what can be checked before training.
  /// @throws std::runtime_error naming the file: it is none (a folder, FIFO ...) or cannot be
  /// written
  void CheckPath() const;
  bool is_open() const { return open_; }
  /// @brief Make the file, or prepare it for rows from `iteration` on.
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
