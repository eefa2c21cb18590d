// musher train

#include <cstdlib>
#include <iostream>

#include <unistd.h>

#include "common/thread.h"
#include "coordinator/cli/daemon_options.h"
#include "coordinator/cli/follow.h"
#include "coordinator/job_file.h"
#include "coordinator/job_log.h"
#include "coordinator/progress_printer.h"
#include "coordinator/server.h"
#include "coordinator/temporary_folder.h"

namespace musher::cli {

namespace {

constexpr auto kSignalSlice = std::chrono::milliseconds(200);

/// The first Ctrl-C stops the job, the second kills it.
void obey_signals(Coordinator& coordinator, const std::string& name, const std::stop_token& stop) {
  int signals = 0;
  while (!stop.stop_requested()) {
    if (wait_for_stop_signal(Deadline::after(kSignalSlice)) == 0) continue;
    if (++signals == 1) {
      std::cerr << "\nstopping " << name << ": the model so far is saved; Ctrl-C again kills it\n";
      coordinator.stop(name);
    } else {
      coordinator.kill(name);
    }
  }
}

v1::JobProgress follow_here(Coordinator& coordinator, const std::string& name) {
  ProgressPrinter printer(stderr, ::isatty(STDERR_FILENO) != 0);
  for (std::size_t notices = 0;;) {
    const std::uint64_t version = coordinator.version();
    v1::JobProgress progress = coordinator.progress(name, notices);
    notices += static_cast<std::size_t>(progress.notices_size());
    printer.update(progress);
    if (progress.over()) return progress;
    coordinator.wait_for_change(version, Deadline::after(std::chrono::seconds(1)));
  }
}

/// The state folder goes away, so what the ranks said of a failure is shown.
void show_log_end(const std::filesystem::path& file) {
  constexpr std::size_t kLines = 20;
  std::vector<LogEntry> entries;
  for (LogPage page = read_log(file, 0, std::nullopt); !page.entries.empty();
       page = read_log(file, page.next_offset, std::nullopt)) {
    entries.insert(entries.end(), page.entries.begin(), page.entries.end());
    if (entries.size() > kLines) entries.erase(entries.begin(), entries.end() - kLines);
  }
  for (const LogEntry& entry : entries) {
    if (entry.rank >= 0) std::cerr << "[rank " << entry.rank << "] " << entry.text << "\n";
  }
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string path;
  std::string state;
  std::optional<int> workers;
  bool json = false;
  DaemonOptions daemon;
  Options options(command);
  options.positional("JOB.json", &path);
  options.add("workers", &workers, "N", "number of ranks, instead of the job's own");
  options.add("state", &state, "DIR",
              "keep the job's record and log here; else they go at the end");
  options.add("json", &json, "the job's description is all that is on stdout");
  daemon.add_to(options);
  if (!options.parse(words)) return kOk;

  const JobFile file = read_job_file(path, workers);
  print_notices(file.notices);
  block_stop_signals();
  std::optional<TemporaryFolder> temporary("musher-train");
  if (state.empty()) state = temporary->path();
  CoordinatorOptions settings = daemon.coordinator(state, temporary->path() / "mpi");
  settings.hosts = {{"localhost", file.job.ranks}};
  settings.die_together = true;
  Coordinator coordinator(std::move(settings), make_silent_logger());
  const Server server(coordinator, "127.0.0.1:0");
  coordinator.start(server.address());
  coordinator.create(file.request, {workers, ""});

  const std::string& name = file.job.name;
  const Thread signals("signals",
                       [&](const std::stop_token& stop) { obey_signals(coordinator, name, stop); });
  const v1::JobProgress last = follow_here(coordinator, name);
  if (last.job().training_job_status() == v1::TrainingJobStatus::Failed) {
    show_log_end(coordinator.log_file(name));
  }
  const int code = conclude(last, json, true);
  if (coordinator.busy()) {  // nobody wants to wait for a store that does not answer
    temporary.reset();
    std::_Exit(code);
  }
  return code;
}

}  // namespace

const Command kTrain = {
    "train", "JOB.json",
    "Train on this machine and wait: a coordinator inside this process, ranks by mpirun. The exit "
    "code is the job's: 0 Completed, 1 Failed, 3 Stopped.",
    run};

}  // namespace musher::cli
