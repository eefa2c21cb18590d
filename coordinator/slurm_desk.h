#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/thread.h"
#include "launch/slurm.h"

namespace musher {

/// What came of handing a batch job in.
struct SlurmReceipt {
  std::string name;
  std::int64_t id = 0;  ///< 0: it is not known whether Slurm has it
  std::string error;    ///< not empty: Slurm refused it, or can't be reached
  bool refused = false;
};

/// Called from the desk's thread, which holds no lock.
struct SlurmListener {
  std::function<void(const SlurmReceipt&)> submitted;
  /// All of this user's jobs that Slurm knows. Whatever was handed in and told of before is in it,
  /// unless Slurm has forgotten it.
  std::function<void(const std::vector<SlurmJob>&)> listed;
  /// Slurm does not answer. Nothing is known of any job until the next `listed`.
  std::function<void(const std::string& error)> away;
};

/// The one who talks to Slurm, in a thread of its own, since that may take seconds: hands jobs in,
/// ends them, and asks for the state of all of them, now and then. Thread-safe; calls do not wait.
/// Orders are carried out in their order; one to end or signal a job is tried once.
class SlurmDesk {
 public:
  SlurmDesk(SlurmOptions options, std::chrono::milliseconds interval, SlurmListener listener);
  /// Orders that were given are carried out first.
  ~SlurmDesk();

  /// Makes the request's folder with `files`, by name, for the owner alone, and hands it in.
  void submit(const SlurmRequest& request, const std::map<std::string, std::string>& files);
  void cancel(const SlurmTarget& target);
  void terminate(const SlurmTarget& target);  ///< SIGTERM to the batch script
  /// SIGKILL to all its processes, and the job's end. Only where it runs: one that Slurm is putting
  /// back into the queue just now would count as cancelled, and nobody could tell why it ended.
  void kill(const SlurmTarget& target);
  void end(const SlurmTarget& target);
  /// Asks for the jobs' states at once.
  void look();

 private:
  void run(const std::stop_token& stop);
  void order(std::function<void()> work);
  void hand_in(const SlurmRequest& request, const std::map<std::string, std::string>& files);
  void call(const std::vector<std::string>& argv);
  /// Tells the listener. Absent: Slurm does not answer.
  std::optional<std::vector<SlurmJob>> list();
  bool may_run(const SlurmTarget& target);

  const SlurmOptions options_;
  const std::chrono::milliseconds interval_;
  const SlurmListener listener_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> orders_;
  bool look_ = false;
  bool ending_ = false;
  Thread thread_;
};

}  // namespace musher
