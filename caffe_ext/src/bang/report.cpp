#include "caffe_ext/bang/report.hpp"

#include <caffe/common.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace caffe_ext {
namespace {

constexpr char kHeader[] = "iteration,layer,eta_mean,eta_max,zero_gradients,misclassified";

void LogOutput(int* number, const std::string& name, double value) {
  LOG_IF(INFO, caffe::Caffe::root_solver())
      << "    Train net output #" << (*number)++ << ": " << name << " = " << value;
}

}  // namespace

void LogBangStatistics(int first, const std::vector<BangStatistics>& layers, double misclassified) {
  int number = first;
  for (const BangStatistics& layer : layers) {
    LogOutput(&number, layer.layer + "_eta_mean", layer.eta_mean());
    LogOutput(&number, layer.layer + "_eta_max", layer.eta_max);
    LogOutput(&number, layer.layer + "_zero_gradients", layer.zero_share());
  }
  if (misclassified >= 0) {
    LogOutput(&number, "misclassified", misclassified);
  }
}

void BangCsv::Open(int iteration) {
  std::ostringstream kept;
  kept << kHeader << '\n';
  std::ifstream old(path_);
  if (old) {
    if (iteration == 0 && !open_) {
      throw std::runtime_error("bang_param.diagnostics_csv: " + path_ +
                               " exists already; move it away or name another file");
    }
    std::string line;
    if (!std::getline(old, line) || line != kHeader) {
      throw std::runtime_error("bang_param.diagnostics_csv: " + path_ +
                               " does not begin with the line " + kHeader);
    }
    while (std::getline(old, line)) {
      if (std::atoi(line.c_str()) < iteration) {
        kept << line << '\n';
      }
    }
  }
  // Written beside and moved over, so that a break in between loses nothing.
  const std::string partial = path_ + ".partial";
  std::ofstream file(partial);
  file << kept.str();
  file.close();
  if (!file || std::rename(partial.c_str(), path_.c_str()) != 0) {
    throw std::runtime_error("bang_param.diagnostics_csv: cannot write " + path_);
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
    file << iteration << ',' << layer.layer << ',' << layer.eta_mean() << ',' << layer.eta_max
         << ',' << layer.zero_share() << ',';
    if (misclassified >= 0) {
      file << misclassified;
    }
    file << '\n';
  }
  file.close();
  if (!file) {
    throw std::runtime_error("bang_param.diagnostics_csv: cannot write " + path_);
  }
}

}  // namespace caffe_ext
