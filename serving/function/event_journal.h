#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/thread.h"
#include "serving/function/event_store.h"

namespace musher {

/// Writes to an EventStore in a thread of its own, so that who accepts events never waits for a
/// disk. What is handed over while one transaction is under way goes into the next together: many
/// events cost one wait for the disk (group commit). Thread-safe.
class EventJournal {
 public:
  /// As EventStore.
  EventJournal(const std::filesystem::path& folder, Logger logger);
  ~EventJournal();  ///< close()
  EventJournal(const EventJournal&) = delete;
  EventJournal& operator=(const EventJournal&) = delete;

  /// The events of the process before, taken out. By its owner, before all else.
  std::vector<FunctionEvent> recover() { return std::exchange(recovered_, {}); }

  /// Gives the event back with its number once it is on the disk; or with false where it could not
  /// be written, which the log then says. Called once, on the journal's thread; must not throw.
  using Stored = std::function<void(FunctionEvent event, bool stored)>;
  void accept(FunctionEvent event, Stored stored);

  /// These two are written soon. Where that fails the log says so and it is tried again with what
  /// comes next; what a kill or a disk that stays full prevents from being written is an execution
  /// more than needed, after the next start.
  void retry(const EventStore::Retry& retry);
  void end(std::int64_t number);

  /// Writes what is left. Nothing may come after. Idempotent; by one thread.
  void close();

 private:
  void write_until_closed();
  bool write(const EventStore::Changes& changes);
  static void answer(std::vector<FunctionEvent> events, const std::vector<Stored>& stored,
                     bool good);

  const Logger logger_;
  EventStore store_;  ///< by thread_ alone, once that runs
  std::vector<FunctionEvent> recovered_;
  std::mutex mutex_;
  std::condition_variable changed_;
  EventStore::Changes pending_;
  std::vector<Stored> stored_;  ///< one for each of pending_.accepted
  std::int64_t next_number_ = 1;
  bool closing_ = false;
  Thread thread_;
};

}  // namespace musher
