#pragma once

#include <optional>
#include <string>
#include <vector>

/// Gang scheduling on slots: a job starts with all its ranks or not at all. Pure.
namespace musher {

/// A host and how many ranks it has room for, or how many a job has on it.
struct HostSlots {
  std::string host;
  int slots = 0;
  bool operator==(const HostSlots&) const = default;
};

struct QueuedJob {
  std::string name;
  int ranks = 1;
};

struct RunningJob {
  std::string name;
  std::vector<HostSlots> placement;
};

struct Start {
  std::string name;
  std::vector<HostSlots>
      placement;  ///< in the order of the host list; every entry has at least one slot
};

struct Schedule {
  std::vector<Start> starts;  ///< in the order of the queue
  std::vector<std::string>
      waiting;  ///< the queue that is left, in order: index + 1 is the queue position
  std::vector<std::string>
      too_large;  ///< of `waiting`: larger than all hosts together; they hold nobody up
};

/// First come, first served, without overtaking: the first job that does not fit makes all behind
/// it wait, so that a large job is never starved by small ones. A job is put on one host where it
/// fits, the fullest such; otherwise on as few hosts as possible. Ties go to the host that is
/// listed first. REQUIRES: host names are unique; slots ≥ 0; ranks ≥ 1.
Schedule schedule(const std::vector<QueuedJob>& queue, const std::vector<RunningJob>& running,
                  const std::vector<HostSlots>& hosts);

/// Slots that nobody holds, on hosts that are there.
int free_slots(const std::vector<RunningJob>& running, const std::vector<HostSlots>& hosts);

/// `placement`, which is one of `running`, with `more` slots: on its own hosts first, then on
/// others in the order of the list. As it is where `more` ≤ 0; absent where too few are free.
std::optional<std::vector<HostSlots>> grown(std::vector<HostSlots> placement, int more,
                                            const std::vector<RunningJob>& running,
                                            const std::vector<HostSlots>& hosts);

/// `placement` with at most `ranks` slots; the last hosts give theirs back first.
std::vector<HostSlots> shrunk(std::vector<HostSlots> placement, int ranks);

int total_slots(const std::vector<HostSlots>& hosts);

}  // namespace musher
