#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// Gang scheduling on slots: a job starts with all its ranks or not at all. Pure: times are from
/// now on.
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
  std::string submitter = {};
  int priority = 0;                     ///< a higher one goes first
  std::chrono::milliseconds waited{0};  ///< since it was submitted
  bool began = false;                   ///< an attempt of it was lost, and it is to go on
  /// The longest that it can hold its slots; absent: there is no limit.
  std::optional<std::chrono::milliseconds> limit = {};
};

struct RunningJob {
  std::string name;
  std::vector<HostSlots> placement;
  std::string submitter = {};
  std::optional<std::chrono::milliseconds> ends_in = {};  ///< at the latest; absent: no limit
};

struct Start {
  std::string name;
  std::vector<HostSlots>
      placement;            ///< in the order of the host list; every entry has at least one slot
  bool backfilled = false;  ///< it overtook the head of the queue, which it does not delay
};

struct Schedule {
  std::vector<Start> starts;  ///< in the order of the queue
  std::vector<std::string>
      waiting;  ///< the queue that is left, in order: index + 1 is the queue position
  std::vector<std::string>
      too_large;  ///< of `waiting`: larger than all hosts together; they hold nobody up
  /// When the head of the queue, the first of `waiting` that is not too large, starts at the
  /// latest, with no host lost and nobody coming who goes before it. Absent: no head, or jobs
  /// without a limit.
  std::optional<std::chrono::milliseconds> head_starts_in = {};
};

struct Policy {
  /// Who has waited for so long goes before all who have not, in the order of submission: whatever
  /// priorities and shares say, nobody is starved.
  std::chrono::milliseconds patience{std::chrono::hours(24)};
};

/// Who goes first, as indices into `queue`, which is in the order of submission. Those who have
/// waited longer than Policy::patience, by submission; then by priority; within one priority in
/// turns, so that each submitter gets the same share of the slots: a job counts behind the slots
/// that its submitter holds and those of the submitter's own jobs before it (max-min fairness by
/// progressive filling). Of one submitter's jobs those that are to go on come first, then by
/// submission.
std::vector<std::size_t> queue_order(const std::vector<QueuedJob>& queue,
                                     const std::vector<RunningJob>& running,
                                     const Policy& policy = {});

/// Starts jobs in queue_order(). The first one that does not fit, the head, has the slots that
/// become free reserved for it from the time at which they suffice at the latest; a job behind it
/// starts now where it fits and is gone by then, or leaves enough slots even so (EASY backfill,
/// Lifka 1995). So a large job is never starved by small ones. A job is put on one host where it
/// fits, the fullest such; otherwise on as few hosts as possible. Ties go to the host that is
/// listed first. REQUIRES: host names are unique; slots ≥ 0; ranks ≥ 1.
Schedule schedule(const std::vector<QueuedJob>& queue, const std::vector<RunningJob>& running,
                  const std::vector<HostSlots>& hosts, const Policy& policy = {});

/// Slots that nobody holds, on hosts that are there.
int free_slots(const std::vector<RunningJob>& running, const std::vector<HostSlots>& hosts);

/// `placement`, which is one of `running`, with `more` slots: on its own hosts first, then on
/// others in the order of the list. As it is where `more` ≤ 0; absent where too few are free.
std::optional<std::vector<HostSlots>> grown(std::vector<HostSlots> placement, int more,
                                            const std::vector<RunningJob>& running,
                                            const std::vector<HostSlots>& hosts);

/// `placement` with at most `ranks` slots; the last hosts give theirs back first.
std::vector<HostSlots> shrunk(std::vector<HostSlots> placement, int ranks);

/// The same where it matters who is where, `held`: ranks by host. Hosts that have more slots than
/// ranks give back first, the last of them before the others.
std::vector<HostSlots> shrunk(std::vector<HostSlots> placement, int ranks,
                              const std::map<std::string, int>& held);

int total_slots(const std::vector<HostSlots>& hosts);

}  // namespace musher
