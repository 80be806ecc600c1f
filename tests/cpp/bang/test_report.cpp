// BANG's diagnostics in the log and in the CSV file.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe_ext/bang/report.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

constexpr char kHeader[] =
    "iteration,layer,log10_eta_mean,log10_eta_max,zero_gradients,misclassified";

// kappa = 2 and 1, so eta = 1 and 2; see test_solver.cpp.
constexpr char kTwoSamples[] = R"(
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "data" top: "y"
            inner_product_param { num_output: 1 weight_filler { type: "constant" value: 1 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "target" top: "loss" })";

BangStatistics Statistics(const std::string& layer, double samples, double log10_eta_sum,
                          double log10_eta_max, double zero_gradients) {
  BangStatistics statistics;
  statistics.layer = layer;
  statistics.samples = samples;
  statistics.log10_eta_sum = log10_eta_sum;
  statistics.log10_eta_max = log10_eta_max;
  statistics.zero_gradients = zero_gradients;
  return statistics;
}

const std::vector<BangStatistics>& TwoLayers() {
  static const std::vector<BangStatistics> layers = {Statistics("conv1", 8, 12, 2.5, 2),
                                                     Statistics("ip1", 0, 0, 0, 0)};
  return layers;
}

std::string Error(const std::function<void()>& function) {
  try {
    function();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(BangReport, LogsFurtherOutputsOfTheTrainingNet) {
  LogCapture log;
  LogBangStatistics(3, TwoLayers(), 0.25);
  EXPECT_EQ(log.messages(),
            (std::vector<std::string>{"    Train net output #3: conv1_log10_eta_mean = 1.5",
                                      "    Train net output #4: conv1_log10_eta_max = 2.5",
                                      "    Train net output #5: conv1_zero_gradients = 0.25",
                                      "    Train net output #6: ip1_log10_eta_mean = 0",
                                      "    Train net output #7: ip1_log10_eta_max = 0",
                                      "    Train net output #8: ip1_zero_gradients = 0",
                                      "    Train net output #9: misclassified = 0.25"}));
  LogCapture unlabelled;
  LogBangStatistics(3, TwoLayers(), -1);
  EXPECT_EQ(unlabelled.messages().size(), 6U);
}

// The pattern is that of Caffe's tools/extra/parse_log.py.
TEST(BangReport, OfASolverContinuesCaffesNumbersAtEveryDisplay) {
  const auto solver = MakeSolver<float>("type: 'BANG' display: 2", Images() + Classify("x") + R"(
      layer { name: "more" type: "Softmax" bottom: "x" top: "more" })");
  Feeder<float> feeder(solver.get(), 0);
  LogCapture log;
  solver->Step(5);
  const std::regex pattern("Train net output #(\\d+): (\\S+) = ([\\.\\deE+-]+)");
  int number = 0;
  int lines = 0;
  std::vector<std::string> names;
  for (const std::string& message : log.messages()) {
    if (message.rfind("Iteration", 0) == 0 && message.find("loss") != std::string::npos) {
      number = 0;
    }
    std::smatch match;
    if (std::regex_search(message, match, pattern)) {
      EXPECT_EQ(std::stoi(match[1]), number++) << message;
      names.push_back(match[2]);
      ++lines;
    }
  }
  const int outputs = 1 + 4 * 3 * 6 * 5;  // loss and more
  const std::vector<std::string> ours = {"first_log10_eta_mean", "first_log10_eta_max",
                                         "first_zero_gradients", "scores_log10_eta_mean",
                                         "scores_log10_eta_max", "scores_zero_gradients",
                                         "misclassified"};
  EXPECT_EQ(lines, 3 * (outputs + static_cast<int>(ours.size())));
  EXPECT_EQ(std::vector<std::string>(names.end() - 7, names.end()), ours);
}

TEST(BangReport, OfASolverHasTheFiguresOfOneIteration) {
  const auto solver = MakeSolver<double>(
      "type: 'BANG' display: 1 base_lr: 0 bang_param { epsilon: 2 }", kTwoSamples);
  LogCapture log;
  SetValues({1, 3}, solver->net()->blob_by_name("data").get());
  SetValues({-3, 1}, solver->net()->blob_by_name("target").get());
  solver->Step(1);
  SetValues({1, 3}, solver->net()->blob_by_name("target").get());
  solver->Step(1);
  const std::vector<std::string> lines = log.With("ip_");
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_EQ(lines[0], "    Train net output #1: ip_log10_eta_mean = 0.150515");
  EXPECT_EQ(lines[1], "    Train net output #2: ip_log10_eta_max = 0.30103");
  EXPECT_EQ(lines[2], "    Train net output #3: ip_zero_gradients = 0");
  EXPECT_EQ(lines[3], "    Train net output #1: ip_log10_eta_mean = 0");
  EXPECT_EQ(lines[4], "    Train net output #2: ip_log10_eta_max = 0");
  EXPECT_EQ(lines[5], "    Train net output #3: ip_zero_gradients = 1");
}

TEST(BangReport, IsTheRootSolversAlone) {
  const TemporaryFolder folder;
  caffe::Caffe::set_solver_rank(1);
  {
    const auto solver = MakeSolver<float>(
        "type: 'BANG' display: 1 bang_param { diagnostics_csv: '" + (folder / "bang.csv") + "' }");
    Feeder<float> feeder(solver.get(), 0);
    LogCapture log;
    solver->Step(2);
    EXPECT_EQ(log.With("eta").size(), 0U);
  }
  caffe::Caffe::set_solver_rank(0);
  EXPECT_EQ(Lines(folder / "bang.csv").size(), 0U);
}

TEST(BangCsv, HasARowForEachLayerAndDisplay) {
  const TemporaryFolder folder;
  BangCsv csv(folder / "bang.csv");
  csv.Append(0, TwoLayers(), 0.25);
  csv.Append(100, TwoLayers(), -1);
  EXPECT_EQ(Lines(folder / "bang.csv"),
            (std::vector<std::string>{kHeader, "0,conv1,1.5,2.5,0.25,0.25", "0,ip1,0,0,0,0.25",
                                      "100,conv1,1.5,2.5,0.25,", "100,ip1,0,0,0,"}));
}

TEST(BangCsv, DoesNotOverwriteAFile) {
  const TemporaryFolder folder;
  BangCsv(folder / "bang.csv").Append(0, TwoLayers(), 0);
  EXPECT_EQ(Error([&] { BangCsv(folder / "bang.csv").Append(0, {}, 0); }),
            "bang_param.diagnostics_csv: " + (folder / "bang.csv") +
                " exists already; move it away or name another file");
  EXPECT_EQ(Lines(folder / "bang.csv").size(), 3U);
}

TEST(BangCsv, DoesNotTouchAnotherKindOfFile) {
  const TemporaryFolder folder;
  std::ofstream(folder / "mine.txt") << "my own\n";
  EXPECT_EQ(Error([&] { BangCsv(folder / "mine.txt").Append(5, {}, 0); }),
            "bang_param.diagnostics_csv: " + (folder / "mine.txt") +
                " does not begin with the line " + kHeader);
  EXPECT_EQ(Lines(folder / "mine.txt"), std::vector<std::string>{"my own"});
}

TEST(BangCsv, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  const std::string field = "bang_param.diagnostics_csv: ";
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(mkdir((folder / "folder").c_str(), 0700), 0);
  std::filesystem::create_symlink("nowhere", folder / "link");
  for (const std::string name : {"fifo", "folder"}) {
    EXPECT_EQ(Error([&] { BangCsv(folder / name).CheckPath(); }),
              field + (folder / name) + " is not a regular file");
  }
  EXPECT_EQ(Error([&] { BangCsv("/dev/full").CheckPath(); }),
            field + "/dev/full is not a regular file");
  EXPECT_EQ(Error([&] { BangCsv(folder / "link").CheckPath(); }),
            field + (folder / "link") + " is a symbolic link to a file that does not exist");
  EXPECT_EQ(Error([&] { BangCsv(folder / "no/bang.csv").CheckPath(); }),
            field + "cannot write " + (folder / "no/bang.csv"));
  EXPECT_EQ(Error([&] { BangCsv(folder / "new.csv").CheckPath(); }), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "new.csv"));
}

TEST(BangCsv, LeavesASymbolicLinkWhereItIs) {
  const TemporaryFolder folder;
  BangCsv(folder / "real.csv").Append(0, TwoLayers(), 0);
  std::filesystem::create_symlink("real.csv", folder / "link.csv");
  BangCsv(folder / "link.csv").Append(100, TwoLayers(), 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.csv"));
  EXPECT_EQ(Lines(folder / "real.csv").size(), 5U);
}

TEST(BangCsv, QuotesNames) {
  const TemporaryFolder folder;
  BangCsv csv(folder / "bang.csv");
  for (const int iteration : {0, 10}) {
    csv.Append(iteration, {Statistics("ip,\"1\"", 1, 1, 1, 0), Statistics("a\nb", 1, 1, 1, 0)}, 0);
  }
  const std::vector<std::string> rows = {kHeader, "0,\"ip,\"\"1\"\"\",1,1,0,0", "0,\"a",
                                         "b\",1,1,0,0"};
  std::vector<std::string> lines = Lines(folder / "bang.csv");
  EXPECT_EQ(lines.size(), 7U);
  lines.resize(4);
  EXPECT_EQ(lines, rows);
  BangCsv(folder / "bang.csv").Open(10);  // drops rows, and not lines
  EXPECT_EQ(Lines(folder / "bang.csv"), rows);
}

TEST(BangCsv, ThatCannotBeWrittenIsFoundBeforeTheFirstIteration) {
  const TemporaryFolder folder;
  const auto text = [&](const std::string& name) {
    return "type: 'BANG' display: 2 max_iter: 3 bang_param { diagnostics_csv: '" + (folder / name) +
           "' }";
  };
  EXPECT_NE(Error([&] { MakeSolver<float>(text("no/bang.csv")); }), "");
  std::ofstream(folder / "old.csv") << kHeader << "\n";
  const auto solver = MakeSolver<float>(text("old.csv"));
  EXPECT_NE(Error([&] { solver->Solve(); }), "");
  EXPECT_NE(Error([&] { solver->Step(1); }), "");
  EXPECT_EQ(solver->iter(), 0);
}

TEST(BangCsv, OnAFullDiskDoesNotEndTheTraining) {
  const TemporaryFolder folder;
  const std::string text =
      "type: 'BANG' display: 1 bang_param { diagnostics_csv: '" + (folder / "bang.csv") + "' }";
  const auto solver = MakeSolver<float>(text);
  Feeder<float> feeder(solver.get(), 0);
  solver->Step(2);
  const std::size_t lines = Lines(folder / "bang.csv").size();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit full = {std::filesystem::file_size(folder / "bang.csv"), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  LogCapture log;
  const std::string error = Error([&] { solver->Step(3); });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(error, "");
  EXPECT_EQ(solver->iter(), 5);
  EXPECT_EQ(log.With("cannot write " + (folder / "bang.csv") + "; training goes on without").size(),
            1U);
  EXPECT_EQ(Lines(folder / "bang.csv").size(), lines);
}

TEST(BangCsv, SaysThatItCannotWrite) {
  const TemporaryFolder folder;
  EXPECT_EQ(Error([&] { BangCsv(folder / "no/bang.csv").Append(0, {}, 0); }),
            "bang_param.diagnostics_csv: cannot write " + (folder / "no/bang.csv"));
}

TEST(BangCsv, DropsTheRowsFromWhereTrainingResumes) {
  const TemporaryFolder folder;
  BangCsv first(folder / "bang.csv");
  for (const int iteration : {0, 10, 20, 30}) {
    first.Append(iteration, {Statistics("ip", 1, 1, 1, 0)}, 0);
  }
  BangCsv(folder / "bang.csv").Append(20, {Statistics("ip", 1, 7, 7, 0)}, 0);
  EXPECT_EQ(Lines(folder / "bang.csv"),
            (std::vector<std::string>{kHeader, "0,ip,1,1,0,0", "10,ip,1,1,0,0", "20,ip,7,7,0,0"}));
}

TEST(BangCsv, DropsTheRowsFromWhereTrainingHasGoneBackTo) {
  const TemporaryFolder folder;
  BangCsv csv(folder / "bang.csv");
  for (const int iteration : {0, 10, 20, 10, 20, 0}) {
    csv.Append(iteration, {Statistics("ip", 1, 1, 1, 0)}, 0);
    if (iteration == 20) {
      EXPECT_EQ(Lines(folder / "bang.csv").size(), 4U);
    }
  }
  EXPECT_EQ(Lines(folder / "bang.csv"), (std::vector<std::string>{kHeader, "0,ip,1,1,0,0"}));
}

TEST(BangCsv, IsWrittenBySolvers) {
  const TemporaryFolder folder;
  const std::string text =
      "type: 'BANG' display: 2 bang_param { diagnostics_csv: '" + (folder / "bang.csv") + "' }";
  Train<float>(text, 5);
  const std::vector<std::string> lines = Lines(folder / "bang.csv");
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[3].rfind("2,first,", 0), 0U) << lines[3];
  EXPECT_EQ(lines[6].rfind("4,scores,", 0), 0U) << lines[6];
  EXPECT_NE(Error([&] { Train<float>(text, 1); }), "");
  EXPECT_EQ(Lines(folder / "bang.csv"), lines);
}

}  // namespace
}  // namespace caffe_ext
