// What Data layers say in the log of the images that they read.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <caffe/layer_factory.hpp>
#include <caffe/util/db.hpp>
#include "caffe_ext/layers/data_origin.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {
namespace {

class DataOriginTest : public ::testing::Test {
 protected:
  DataOriginTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::create_directories(folder_);
  }
  ~DataOriginTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& record) const { std::ofstream(folder_ / "source.json") << record; }
  std::string Database() const { return (folder_ / "train_lmdb").string(); }

  const std::filesystem::path folder_;
};

constexpr const char* kDigits =
    R"({"data_set": "mnist", "holds": "some digits", "published": false, "embedded": true})";

TEST_F(DataOriginTest, AStandIn) {
  Write(kDigits);
  const DataOrigin origin = ReadDataOrigin(Database());
  EXPECT_TRUE(origin.stands_in);
  EXPECT_EQ(origin.sentence, Database() +
                                 " holds some digits, which stand in for mnist: `caffe-ext "
                                 "get-data mnist` says how to get that");
  EXPECT_EQ(ReadDataOrigin(Database() + "/").sentence, origin.sentence);
}

TEST_F(DataOriginTest, WhatTheFolderIsNamedFor) {
  Write(R"({"data_set": "mnist", "holds": "MNIST", "published": true, "embedded": false})");
  EXPECT_FALSE(ReadDataOrigin(Database()).stands_in);
  EXPECT_EQ(ReadDataOrigin(Database()).sentence, Database() + " holds MNIST as published");
  Write(R"({"data_set": "digits", "holds": "digits", "published": false, "embedded": true})");
  EXPECT_FALSE(ReadDataOrigin(Database()).stands_in);
  EXPECT_EQ(ReadDataOrigin(Database()).sentence, Database() + " holds digits");
}

TEST_F(DataOriginTest, NothingIsKnown) {
  EXPECT_EQ(ReadDataOrigin(Database()).sentence, "");
  for (const char* record : {"{", "[]", R"({"data_set": "mnist"})", R"({"published": 7})"}) {
    Write(record);
    EXPECT_EQ(ReadDataOrigin(Database()).sentence, "") << record;
    EXPECT_FALSE(ReadDataOrigin(Database()).stands_in) << record;
  }
  EXPECT_EQ(ReadDataOrigin("").sentence, "");
}

TEST_F(DataOriginTest, LayersSayItOnce) {
  Write(kDigits);
  {
    const std::unique_ptr<caffe::db::DB> database(caffe::db::GetDB("lmdb"));
    database->Open(Database(), caffe::db::NEW);
    const std::unique_ptr<caffe::db::Transaction> transaction(database->NewTransaction());
    transaction->Put("0", caffe::Datum().SerializeAsString());
    transaction->Commit();
  }
  const auto param = Parse<caffe::LayerParameter>(
      "name: 'images' type: 'Data' top: 'data' phase: TRAIN data_param { backend: LMDB "
      "batch_size: 1 source: '" +
      Database() + "' }");
  const LogCapture log;
  caffe::LayerRegistry<float>::CreateLayer(param);
  caffe::LayerRegistry<double>::CreateLayer(param);
  EXPECT_EQ(log.With("some digits, which stand in for mnist").size(), 1);
}

}  // namespace
}  // namespace caffe_ext
