// Caffe's CHECK and LOG(FATAL): an abort by default, an exception where the process asks for it.

#include "caffe/caffe.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/cpp/support/log_capture.hpp"

namespace {

class ErrorTest : public testing::Test {
 protected:
  void SetUp() override { caffe::ThrowErrors(true); }
  void TearDown() override { caffe::ThrowErrors(false); }

  template <typename Run>
  static std::string Message(Run run) {
    try {
      run();
    } catch (const caffe::Error& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(ErrorTest, AbortsByDefaultWithGlogsText) {
  caffe::ThrowErrors(false);
  EXPECT_DEATH(CHECK(1 > 2) << "never", "Check failed: 1 > 2 never");
  EXPECT_DEATH(CHECK_EQ(1, 2) << "never", R"(Check failed: 1 == 2 \(1 vs\. 2\) never)");
  EXPECT_DEATH(LOG(FATAL) << "never", "never");
  const std::string file = "net.prototxt";
  EXPECT_DEATH(
      {
        caffe::ErrorContext context(file);
        LOG(FATAL) << "never";
      },
      R"(never \[net\.prototxt\])");
}

TEST_F(ErrorTest, TheSentenceComesFirst) {
  EXPECT_EQ("too small", Message([] { CHECK(1 > 2) << " too small\n"; }));
  EXPECT_EQ("too small (Check failed: 1 == 2 (1 vs. 2))",
            Message([] { CHECK_EQ(1, 2) << "too small"; }));
  EXPECT_EQ("a b", Message([] { LOG(FATAL) << "a\nb"; }));
  EXPECT_EQ("a", Message([] { LOG_IF(FATAL, true) << "a"; }));
  EXPECT_EQ("nothing is NULL", Message([] {
              const int* nothing = nullptr;
              CHECK_NOTNULL(nothing);
            }));
}

TEST_F(ErrorTest, WithoutASentenceTheConditionAndItsPlace) {
  const std::string message = Message([] { CHECK_GT(1, 2); });
  EXPECT_EQ(0U, message.find("Check failed: 1 > 2 (1 vs. 2) in test_error.cpp:")) << message;
}

TEST_F(ErrorTest, WhatHoldsDoesNothing) {
  EXPECT_EQ("no error", Message([] {
              CHECK(true) << "never";
              CHECK_EQ(1, 1) << "never";
              LOG_IF(FATAL, false) << "never";
            }));
  // As a statement of its own, an `if` without braces keeps its `else`.
  bool taken = false;
  if (false)
    CHECK(false);
  else
    taken = true;
  EXPECT_TRUE(taken);
}

TEST_F(ErrorTest, ContextsAreNamedFromTheOutside) {
  const std::string file = "net.prototxt";
  const std::string layer = "conv1";
  {
    caffe::ErrorContext outer(file);
    caffe::ErrorContext inner("layer", layer);
    EXPECT_EQ("net.prototxt, layer 'conv1': no", Message([] { LOG(FATAL) << "no"; }));
    std::string of_other_thread;
    std::thread([&] { of_other_thread = Message([] { LOG(FATAL) << "no"; }); }).join();
    EXPECT_EQ("no", of_other_thread);
  }
  EXPECT_EQ("no", Message([] { LOG(FATAL) << "no"; }));
}

void CheckInADestructorWhileUnwinding() {
  struct Checks {
    ~Checks() { CHECK(false) << "in a destructor"; }
  };
  try {
    Checks checks;
    throw std::runtime_error("first");
  } catch (const std::runtime_error&) {
  }
}

TEST_F(ErrorTest, AbortsWhileAnotherExceptionIsOnItsWay) {
  EXPECT_DEATH(CheckInADestructorWhileUnwinding(), "in a destructor");
}

TEST_F(ErrorTest, ProgramsEndWithOneLine) {
  caffe::ThrowErrors(false);
  caffe_ext::LogCapture log;
  EXPECT_EQ(1, caffe::RunProgram(
                   [](int, char**) -> int {
                     CHECK(false) << "the file is wrong";
                     return 0;
                   },
                   0, nullptr));
  EXPECT_EQ(std::vector<std::string>{"the file is wrong"}, log.messages());
  EXPECT_EQ(3, caffe::RunProgram([](int, char**) { return 3; }, 0, nullptr));
}

}  // namespace
