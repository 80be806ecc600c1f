#include "caffe_ext/bang/report.hpp"

#include <unistd.h>

#include <algorithm>
#include <caffe/common.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace caffe_ext {
namespace {

constexpr char kHeader[] =
    "iteration,layer,log10_eta_mean,log10_eta_max,zero_gradients,misclassified";

constexpr char kField[] = "bang_param.diagnostics_csv: ";

// A field as RFC 4180 has it.
std::string Quote(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) {
    return field;
  }
  std::string quoted = "\"";
  for (const char c : field) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

// A row, of several lines where a quoted field holds their ends.
bool ReadRow(std::istream* file, std::string* row) {
  if (!std::getline(*file, *row)) {
    return false;
  }
  std::string more;
  while (std::count(row->begin(), row->end(), '"') % 2 != 0 && std::getline(*file, more)) {
    *row += '\n' + more;
  }
  return true;
}

}  // namespace

template <typename Dtype>
int CountOutputs(const caffe::Net<Dtype>& net) {
  int outputs = 0;
  for (const caffe::Blob<Dtype>* blob : net.output_blobs()) {
    outputs += blob->count();
  }
  return outputs;
}

template int CountOutputs(const caffe::Net<float>&);
template int CountOutputs(const caffe::Net<double>&);

std::string DescribeLoss(double loss) {
  std::ostringstream text;
  text << "the loss is " << (std::isnan(loss) ? std::fabs(loss) : loss);
  return text.str();
}

void LogTrainOutput(int* number, const std::string& name, double value) {
  LOG_IF(INFO, caffe::Caffe::root_solver())
      << "    Train net output #" << (*number)++ << ": " << name << " = " << value;
}

void LogBangStatistics(int first, const std::vector<BangStatistics>& layers, double misclassified) {
  int number = first;
  for (const BangStatistics& layer : layers) {
    LogTrainOutput(&number, layer.layer + "_log10_eta_mean", layer.log10_eta_mean());
    LogTrainOutput(&number, layer.layer + "_log10_eta_max", layer.log10_eta_max);
    LogTrainOutput(&number, layer.layer + "_zero_gradients", layer.zero_share());
  }
  if (misclassified >= 0) {
    LogTrainOutput(&number, "misclassified", misclassified);
  }
}

void BangCsv::CheckPath() const {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw std::runtime_error(kField + path_ + " is not a regular file");
  }
  if (!fs::exists(status) && fs::is_symlink(fs::symlink_status(path_, error))) {
    throw std::runtime_error(kField + path_ + " is a symbolic link to a file that does not exist");
  }
  const std::string partial = PartialPath();
  const bool written = std::ofstream(partial).put('\n').flush().good();
  fs::remove(partial, error);
  if (!written || (fs::exists(status) && access(path_.c_str(), R_OK | W_OK) != 0)) {
    throw std::runtime_error(kField + ("cannot write " + path_));
  }
}

// Beside the file itself, and not beside a link to it.
std::string BangCsv::PartialPath() const {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path_, error);
  return (error ? path_ : real.string()) + ".partial";
}

void BangCsv::Open(int iteration) {
  CheckPath();
  std::ostringstream kept;
  kept << kHeader << '\n';
  std::ifstream old(path_);
  if (old) {
    if (iteration == 0 && !open_) {
      throw std::runtime_error(kField + path_ +
                               " exists already; move it away or name another file");
    }
    std::string line;
    if (!std::getline(old, line) || line != kHeader) {
      throw std::runtime_error(kField + path_ + " does not begin with the line " + kHeader);
    }
    while (ReadRow(&old, &line)) {
      if (std::atoi(line.c_str()) < iteration) {
        kept << line << '\n';
      }
    }
  }
  // Written beside and moved over, so that a break in between loses nothing.
  const std::string partial = PartialPath();
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path_, error);
  std::ofstream file(partial);
  file << kept.str();
  file.close();
  const std::string target = error ? path_ : real.string();
  if (!file || std::rename(partial.c_str(), target.c_str()) != 0) {
    std::remove(partial.c_str());
    throw std::runtime_error(kField + ("cannot write " + path_));
  }
  open_ = true;
}

void BangCsv::Append(int iteration, const std::vector<BangStatistics>& layers,
                     double misclassified) {
  if (!open_ || iteration <= last_iteration_) {
    Open(iteration);
  }
  last_iteration_ = iteration;
  std::ofstream file(path_, std::ios::app);
  for (const BangStatistics& layer : layers) {
    file << iteration << ',' << Quote(layer.layer) << ',' << layer.log10_eta_mean() << ','
         << layer.log10_eta_max << ',' << layer.zero_share() << ',';
    if (misclassified >= 0) {
      file << misclassified;
    }
    file << '\n';
  }
  file.close();
  if (!file) {
    throw std::runtime_error(kField + ("cannot write " + path_));
  }
}

}  // namespace caffe_ext
