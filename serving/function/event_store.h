#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "database/sqlite.h"
#include "database/state_folder.h"
#include "serving/function/event_queue.h"

namespace musher {

/// The events of a function that were accepted and have not come to their end, in `events.sqlite`
/// of a folder, so that the next process has those of one that was killed. One thread at a time.
class EventStore {
 public:
  /// Makes the folder, which is its owner's alone: what callers send is in it. kFailedPrecondition
  /// where another process has it or others may look into it; kDataLoss where the file is damaged.
  explicit EventStore(const std::filesystem::path& folder);

  /// All of them, in the order of their numbers, which is that of their acceptance.
  std::vector<FunctionEvent> all();

  /// An execution failed, and there will be another.
  struct Retry {
    std::int64_t number = 0;  ///< of the event
    int executions = 0;       ///< that ended
    FunctionEvent::Time due;  ///< the next
  };
  /// What happened since the last time, in this order.
  struct Changes {
    std::vector<FunctionEvent> accepted;
    std::vector<Retry> retries;
    std::vector<std::int64_t> ended;  ///< numbers
    bool empty() const { return accepted.empty() && retries.empty() && ended.empty(); }
  };
  /// On the disk when it returns; nothing of it where it throws.
  void apply(const Changes& changes);

 private:
  const FolderLock lock_;
  sqlite::Database database_;
};

}  // namespace musher
