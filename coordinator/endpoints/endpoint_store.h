#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "database/sqlite.h"
#include "endpoints.pb.h"

namespace musher {

/// The endpoints of a coordinator and why their instances came and went, in a SQLite file of its
/// own beside that of the jobs. Thread-safe. REQUIRES: that the state folder is this process's,
/// which JobStore sees to.
class EndpointStore {
 public:
  explicit EndpointStore(const std::filesystem::path& file);

  std::vector<v1::EndpointRecord> all();
  /// kAlreadyExists for a name that is taken, in whatever case.
  void create(const v1::EndpointRecord& record);
  void save(const v1::EndpointRecord& record);
  /// With its activities.
  void remove(const std::string& name);

  /// `activity` without its id. The newest kKept of an endpoint stay.
  void add_activity(const std::string& name, const v1::ScalingActivity& activity);
  /// The newest first.
  std::vector<v1::ScalingActivity> activities(const std::string& name, int most);

  static constexpr int kKept = 200;

 private:
  std::mutex mutex_;
  sqlite::Database database_;
};

}  // namespace musher
