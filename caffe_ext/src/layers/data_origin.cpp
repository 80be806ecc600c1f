#include "caffe_ext/layers/data_origin.hpp"

// Boost 1.74's parser of JSON includes a header that prints a note without this.
#define BOOST_BIND_GLOBAL_PLACEHOLDERS
#include <boost/property_tree/json_parser.hpp>
#include <mutex>
#include <set>
#include <string>

#include <caffe/layer_factory.hpp>

namespace caffe_ext {

namespace {

/// Says in the log what a database holds, the first time that it is asked for.
void LogOrigin(const std::string& database) {
  static std::mutex mutex;
  static std::set<std::string> known;
  const std::scoped_lock lock(mutex);
  if (!known.insert(database).second) {
    return;
  }
  const DataOrigin origin = ReadDataOrigin(database);
  LOG_IF(WARNING, origin.stands_in) << origin.sentence;
  LOG_IF(INFO, !origin.stands_in && !origin.sentence.empty()) << origin.sentence;
}

template <typename Dtype>
struct DataCreator {
  using Registry = caffe::LayerRegistry<Dtype>;

  inline static typename Registry::Creator stock = nullptr;

  static caffe::shared_ptr<caffe::Layer<Dtype>> Create(const caffe::LayerParameter& param) {
    LogOrigin(param.data_param().source());
    return stock(param);
  }

  /// Takes the place of Caffe's creator.
  static bool Install() {
    typename Registry::Creator& creator = Registry::Registry().at("Data");
    stock = creator;
    creator = &Create;
    return true;
  }
};

[[maybe_unused]] const bool installed =
    DataCreator<float>::Install() && DataCreator<double>::Install();

}  // namespace

DataOrigin ReadDataOrigin(const std::string& database) {
  const std::string path = database.substr(0, database.find_last_not_of('/') + 1);
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  try {
    boost::property_tree::ptree record;
    boost::property_tree::read_json(folder + "source.json", record);
    const auto name = record.get<std::string>("data_set");
    const auto holds = record.get<std::string>("holds");
    const std::string held = path + " holds " + holds;
    if (record.get<bool>("published")) {
      return {held + " as published", false};
    }
    if (record.get<bool>("embedded") && name != "digits") {
      return {held + ", which stand in for " + name + ": `caffe-ext get-data " + name +
                  "` says how to get that",
              true};
    }
    return {held, false};
  } catch (const boost::property_tree::ptree_error&) {
    return {"", false};
  }
}

}  // namespace caffe_ext
