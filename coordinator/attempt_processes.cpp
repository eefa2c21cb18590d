#include "coordinator/attempt_processes.h"

#include <chrono>

#include <poll.h>
#include <signal.h>

#include "common/deadline.h"

namespace musher {

namespace {

constexpr auto kCleanUpTime = std::chrono::seconds(10);  // for killed processes to be gone

class LocalProcesses final : public AttemptProcesses {
 public:
  LocalProcesses(std::optional<Process> mpirun, std::filesystem::path token,
                 std::filesystem::path session)
      : mpirun_(std::move(mpirun)), token_(std::move(token)), session_(std::move(session)) {}

  int descriptor() const override { return mpirun_ ? mpirun_->descriptor() : -1; }
  bool told_to_end() const override { return mpirun_ && mpirun_->has_pending(SIGTERM); }
  void ask_to_stop() override { signal_ranks(SIGTERM); }
  void kill_ranks() override { signal_ranks(SIGKILL); }
  void kill_all() override {
    if (mpirun_) mpirun_->signal(SIGKILL);
    signal_by_argument(token_, SIGKILL);
  }
  void clean_up() override {
    if (mpirun_) mpirun_->reap();
    const Deadline deadline = Deadline::after(kCleanUpTime);
    while (signal_by_argument(token_, SIGKILL) > 0 && !deadline.expired()) {
      ::poll(nullptr, 0, 5);  // the kernel tells nobody but the parent of a process's end
    }
    std::error_code ignored;
    std::filesystem::remove_all(session_, ignored);
  }

 private:
  void signal_ranks(int number) {
    signal_by_argument(token_, number, mpirun_ ? mpirun_->identity().pid : 0);
  }

  const std::optional<Process> mpirun_;
  const std::filesystem::path token_;
  const std::filesystem::path session_;
};

}  // namespace

std::shared_ptr<AttemptProcesses> local_processes(std::optional<Process> mpirun,
                                                  std::filesystem::path token,
                                                  std::filesystem::path session) {
  return std::make_shared<LocalProcesses>(std::move(mpirun), std::move(token), std::move(session));
}

}  // namespace musher
