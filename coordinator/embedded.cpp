#include "coordinator/embedded.h"

#include <cstdio>
#include <stdexcept>

#include "common/error.h"
#include "common/log.h"
#include "common/thread.h"
#include "coordinator/coordinator.h"
#include "coordinator/job_file.h"
#include "coordinator/progress_printer.h"
#include "coordinator/server.h"
#include "coordinator/temporary_folder.h"
#include "job/input_mode.h"
#include "job/metric_rate.h"
#include "launch/mpirun.h"
#include "rpc/tls.h"

namespace musher {

namespace {

constexpr auto kStartTime = std::chrono::seconds(10);

CoordinatorOptions options_for(const std::filesystem::path& state, int world_size,
                               const StorageConfig& storage) {
  CoordinatorOptions options;
  options.state = state;
  options.storage = storage;
  options.hosts = {{"localhost", world_size}};
  options.ranks_are_here = true;
  return options;
}

}  // namespace

class EmbeddedCoordinator::Impl {
 public:
  Impl(const std::string& path, int world_size, const StorageConfig& storage,
       const EmbeddedNetwork& network)
      : network_(network),
        file_(read_job_file(path, world_size)),
        coordinator_(options_for(folder_.path(), world_size, storage), make_silent_logger()),
        server_(coordinator_, network.tls.empty() ? "127.0.0.1:0" : "0.0.0.0:0",
                network.tls.empty() ? "" : network.tls / std::filesystem::path("coordinator")),
        name_(file_.job.name) {
    coordinator_.start(server_.address());
    coordinator_.create(file_.request, {world_size, ""});
    const Deadline deadline = Deadline::after(kStartTime);
    while ((token_ = coordinator_.token(name_)).empty()) {
      if (deadline.expired()) {
        throw Error(ErrorCode::kInternal, "the embedded coordinator did not start its job");
      }
      coordinator_.wait_for_change(coordinator_.version(),
                                   Deadline::after(std::chrono::milliseconds(10)));
    }
    progress_ = Thread("progress", [this](const std::stop_token& stop) { show(stop); });
  }

  ~Impl() {
    progress_.request_stop();
    coordinator_.shut_down();
  }

  bool wait(Deadline deadline) {
    for (;;) {
      const std::uint64_t version = coordinator_.version();
      if (coordinator_.progress(name_).over()) return true;
      if (deadline.expired()) return false;
      coordinator_.wait_for_change(version, deadline);
    }
  }

  int exit_code() { return exit_code_of(coordinator_.progress(name_).job().training_job_status()); }

  std::string address() const {
    if (network_.tls.empty()) return server_.address();
    const std::string host = network_.advertise.empty() ? this_machine() : network_.advertise;
    const std::string port = server_.address().substr(server_.address().rfind(':'));
    return Endpoint{host + port, std::filesystem::absolute(network_.tls) / "worker"}.text();
  }
  const std::string& name() const { return name_; }
  const std::string& token() const { return token_; }
  std::vector<std::string> file_channels() const { return file_mode_channels(file_.request); }
  std::int64_t metrics_every() const { return musher::metrics_every_steps(file_.request); }
  void finish_showing() {
    if (progress_.joinable()) progress_.join();
  }

 private:
  void show(const std::stop_token& stop) {
    ProgressPrinter printer(stderr, false);
    std::size_t notices = 0;
    while (!stop.stop_requested()) {
      const std::uint64_t version = coordinator_.version();
      const v1::JobProgress progress = coordinator_.progress(name_, notices);
      notices += static_cast<std::size_t>(progress.notices_size());
      printer.update(progress);
      if (progress.over()) {
        std::fprintf(stderr, "%s\n", summary_text(progress.job()).c_str());
        const std::string& artifact = progress.job().model_artifacts().s3_model_artifacts();
        if (!artifact.empty()) std::fprintf(stderr, "  %s\n", artifact.c_str());
        return;
      }
      coordinator_.wait_for_change(version, Deadline::after(std::chrono::seconds(1)));
    }
  }

  const EmbeddedNetwork network_;
  TemporaryFolder folder_{"musher-by-hand"};
  JobFile file_;
  Coordinator coordinator_;
  Server server_;
  std::string name_;
  std::string token_;
  Thread progress_;
};

EmbeddedCoordinator::EmbeddedCoordinator(const std::string& job_json_path, int world_size,
                                         const StorageConfig& storage,
                                         const EmbeddedNetwork& network)
    : impl_(std::make_unique<Impl>(job_json_path, world_size, storage, network)) {}
EmbeddedCoordinator::~EmbeddedCoordinator() = default;

std::string EmbeddedCoordinator::address() const {
  return impl_->address();
}
const std::string& EmbeddedCoordinator::job_name() const {
  return impl_->name();
}
const std::string& EmbeddedCoordinator::token() const {
  return impl_->token();
}
std::vector<std::string> EmbeddedCoordinator::file_channels() const {
  return impl_->file_channels();
}
std::int64_t EmbeddedCoordinator::metrics_every_steps() const {
  return impl_->metrics_every();
}
std::uint64_t EmbeddedCoordinator::attempt() const {
  return 1;
}
void EmbeddedCoordinator::wait_over(Deadline deadline) {
  if (impl_->wait(deadline)) impl_->finish_showing();
}
int EmbeddedCoordinator::exit_code() {
  return impl_->exit_code();
}

}  // namespace musher
