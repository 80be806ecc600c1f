#pragma once

#include <glog/logging.h>

#include <string>
#include <vector>

namespace caffe_ext {

/// Keeps what is logged while it lives: the messages alone, without time and place.
class LogCapture : public google::LogSink {
 public:
  LogCapture() { google::AddLogSink(this); }
  ~LogCapture() override { google::RemoveLogSink(this); }

  const std::vector<std::string>& messages() const { return messages_; }

  /// Those that contain `part`.
  std::vector<std::string> With(const std::string& part) const {
    std::vector<std::string> found;
    for (const std::string& message : messages_) {
      if (message.find(part) != std::string::npos) {
        found.push_back(message);
      }
    }
    return found;
  }

  void send(google::LogSeverity, const char*, const char*, int, const google::LogMessageTime&,
            const char* message, size_t length) override {
    messages_.emplace_back(message, length);
  }

 private:
  std::vector<std::string> messages_;
};

}  // namespace caffe_ext
