#pragma once

#include <mutex>

#include "coordinator/job_store.h"
#include "database/sqlite.h"
#include "database/state_folder.h"

/// Private to the job_store*.cpp files.
namespace musher {

class JobStore::Impl {
 public:
  explicit Impl(const std::filesystem::path& folder);

  /// kNotFound.
  std::int64_t id_of(const std::string& name);

  FolderLock lock;
  std::mutex mutex;  ///< of `database`
  sqlite::Database database;
};

inline std::int64_t to_ms(WallTime time) {
  return time.time_since_epoch().count();
}
inline WallTime from_ms(std::int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}
/// The same line of the same time is kept once.
void insert_notice(sqlite::Database& database, std::int64_t id, const Notice& notice);

std::optional<std::int64_t> to_ms(const std::optional<WallTime>& time);
std::optional<WallTime> from_ms(const std::optional<std::int64_t>& ms);

}  // namespace musher
