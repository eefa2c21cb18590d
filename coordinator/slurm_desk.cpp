#include "coordinator/slurm_desk.h"

#include <algorithm>

#include "common/error.h"
#include "coordinator/host_agent.h"
#include "launch/command.h"

namespace musher {

namespace {

constexpr auto kCallTime = std::chrono::seconds(60);

/// The last line that says something, without the command's name before it.
std::string complaint(const CommandResult& result) {
  if (result.timed_out) return "Slurm did not answer within a minute";
  std::string text = result.err.substr(0, result.err.find_last_not_of(" \r\n") + 1);
  text = text.substr(text.find_last_of('\n') + 1);
  constexpr std::string_view kError = "error: ";
  const std::size_t at = text.find(kError);
  if (at != text.npos) text = text.substr(at + kError.size());
  return text.empty() ? "it ended with exit code " + std::to_string(result.exit_code) : text;
}

}  // namespace

SlurmDesk::SlurmDesk(SlurmOptions options, std::chrono::milliseconds interval,
                     SlurmListener listener)
    : options_(std::move(options)),
      interval_(interval),
      listener_(std::move(listener)),
      thread_("slurm", [this](const std::stop_token& stop) { run(stop); }) {}

SlurmDesk::~SlurmDesk() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  thread_.request_stop();
  changed_.notify_all();
}

void SlurmDesk::order(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  orders_.push_back(std::move(work));
  changed_.notify_all();
}

void SlurmDesk::submit(const SlurmRequest& request,
                       const std::map<std::string, std::string>& files) {
  order([this, request, files] { hand_in(request, files); });
}

void SlurmDesk::cancel(const SlurmTarget& target) {
  order([this, target] { call(scancel_argv(options_, target)); });
}

void SlurmDesk::terminate(const SlurmTarget& target) {
  order([this, target] { call(scancel_term_argv(options_, target)); });
}

void SlurmDesk::kill(const SlurmTarget& target) {
  order([this, target] {
    if (may_run(target)) call(scancel_kill_argv(options_, target));
  });
}

void SlurmDesk::end(const SlurmTarget& target) {
  order([this, target] {
    if (may_run(target)) call(scancel_argv(options_, target));
  });
}

void SlurmDesk::look() {
  const std::lock_guard lock(mutex_);
  look_ = true;
  changed_.notify_all();
}

void SlurmDesk::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (!orders_.empty()) {
      std::vector<std::function<void()>> orders;
      orders.swap(orders_);
      lock.unlock();
      for (const auto& work : orders) work();
      lock.lock();
    }
    if (stop.stop_requested() || ending_) return;
    look_ = false;
    lock.unlock();
    list();
    lock.lock();
    changed_.wait_for(lock, interval_, [&] { return ending_ || look_ || !orders_.empty(); });
  }
}

void SlurmDesk::hand_in(const SlurmRequest& request,
                        const std::map<std::string, std::string>& files) {
  SlurmReceipt receipt;
  receipt.name = request.name;
  try {
    make_private_folder(request.folder);
    for (const auto& [name, text] : files) write_private_file(request.folder + "/" + name, text);
    const CommandResult result =
        run_command(sbatch_argv(options_, request), "", Deadline::after(kCallTime));
    const auto id = parse_sbatch(result.out);
    if (result.exit_code == 0 && id) {
      receipt.id = *id;
    } else {
      receipt.error = complaint(result);
      receipt.refused = !result.timed_out && !is_slurm_away(result.err);
    }
  } catch (const std::exception& error) {
    receipt.error = error.what();
    receipt.refused = true;
  }
  listener_.submitted(receipt);
}

/// scancel says nothing of a job that is over already.
void SlurmDesk::call(const std::vector<std::string>& argv) {
  try {
    const CommandResult result = run_command(argv, "", Deadline::after(kCallTime));
    if (result.exit_code != 0 && is_slurm_away(result.err)) listener_.away(complaint(result));
  } catch (const std::exception& error) {
    listener_.away(error.what());
  }
}

std::optional<std::vector<SlurmJob>> SlurmDesk::list() {
  try {
    const CommandResult result = run_command(squeue_argv(options_), "", Deadline::after(kCallTime));
    if (result.exit_code == 0) {
      const std::vector<SlurmJob> jobs = parse_squeue(result.out);
      listener_.listed(jobs);
      return jobs;
    }
    listener_.away(complaint(result));
  } catch (const std::exception& error) {
    listener_.away(error.what());
  }
  return std::nullopt;
}

bool SlurmDesk::may_run(const SlurmTarget& target) {
  const auto jobs = list();
  if (!jobs) return true;
  return std::any_of(jobs->begin(), jobs->end(), [&](const SlurmJob& job) {
    const bool is_it = target.id != 0 ? job.id == target.id : job.name == target.name;
    return is_it && phase_of(job.state) == SlurmPhase::kRuns;
  });
}

}  // namespace musher
