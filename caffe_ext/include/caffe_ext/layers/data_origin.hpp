#pragma once

#include <string>

/// Data layers say in the log what images they read: `caffe-ext get-data` has a stand-in for MNIST
/// where that cannot be had, in the same folder, and somebody who trains must not take one for the
/// other. Each database is named once in a process.
namespace caffe_ext {

/// What is known about the images of a database.
struct DataOrigin {
  std::string sentence;  ///< "DATABASE holds MNIST as published"; empty: nothing is known
  bool stands_in;        ///< The images are not those of the data set that the folder is named for.
};

/// @brief Read what `get-data` wrote beside a database, FOLDER/source.json.
/// @param database FOLDER/train_lmdb or the like; its folder may have no source.json, or another
///   program's
DataOrigin ReadDataOrigin(const std::string& database);

}  // namespace caffe_ext
