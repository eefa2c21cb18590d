#include "trainer/run.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/error.h"
#include "storage/local_cache.h"
#include "trainer/collective/nccl_loader.h"
#include "trainer/device.h"
#include "trainer/session.h"
#include "trainer/spot_watch.h"

namespace musher {
namespace {

constexpr auto kJoinTimeout = std::chrono::minutes(5);
constexpr auto kConnectTimeout = std::chrono::minutes(5);

std::string host_name() {
  std::string name(256, '\0');
  gethostname(name.data(), name.size() - 1);
  return name.c_str();
}

int compute_threads(const TrainerOptions& options, const Membership& membership) {
  if (options.threads > 0) return options.threads;
  return std::max(
      1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, membership.job.ranks));
}

std::vector<std::string> newcomer_command(const TrainerOptions& options) {
  std::vector<std::string> command = {options.program,
                                      "--coordinator",
                                      options.coordinator,
                                      "--job-name",
                                      options.job_name,
                                      "--attempt",
                                      std::to_string(options.attempt),
                                      "--token-file",
                                      options.token_file,
                                      "--device",
                                      options.device,
                                      "--threads",
                                      std::to_string(options.threads),
                                      "--bucket-mib",
                                      std::to_string(options.bucket_mib),
                                      "--step-timeout",
                                      std::to_string(options.step_timeout_seconds),
                                      "--cache-limit",
                                      std::to_string(options.cache_limit),
                                      "--metrics-every",
                                      std::to_string(options.metrics_every_steps)};
  if (!options.cache.empty()) command.insert(command.end(), {"--cache", options.cache});
  if (!options.output_folder.empty()) {
    command.insert(command.end(), {"--output-folder", options.output_folder});
  }
  for (const std::string& fault : options.faults) {
    command.insert(command.end(), {"--inject-fault", fault});
  }
  return command;
}

/// Null: nothing is kept. One rank of a host tells what is wrong with its disk.
std::shared_ptr<LocalCache> make_cache(const TrainerOptions& options, const RankRole& role,
                                       CoordinatorClient& client) {
  if (options.cache.empty() || options.cache_limit == 0) return nullptr;
  std::function<void(const std::string&)> notice;
  if (role.local_rank == 0) {
    notice = [&client, host = host_name()](const std::string& text) {
      client.notice(fmt::format("host {}: {}", host, text));
    };
  }
  return std::make_shared<LocalCache>(options.cache, options.cache_limit, std::move(notice));
}

Faults faults_of(const TrainerOptions& options, int member) {
  std::vector<Fault> faults;
  if (options.attempt > 1) return {};
  for (const std::string& text : options.faults) faults.push_back(parse_fault(text));
  return {faults, member};
}

/// The coordinator learns why this rank stops, for as long as this lives.
class TellOfStop {
 public:
  TellOfStop(StopRequest& stop, CoordinatorClient& client) : stop_(stop) {
    stop_.listen([&client](const Interruption& why) { client.interrupted(why); });
  }
  ~TellOfStop() { stop_.listen({}); }
  TellOfStop(const TellOfStop&) = delete;
  TellOfStop& operator=(const TellOfStop&) = delete;

 private:
  StopRequest& stop_;
};

/// By one rank of each host; and by newcomers, for the one that did so may be who died.
std::unique_ptr<SpotWatch> watch_for_spot_notices(const Job& job, const RankRole& role,
                                                  const MetadataConfig& metadata,
                                                  CoordinatorClient& client, StopRequest& stop) {
  if (!job.spot || (role.local_rank != 0 && !role.newcomer)) return nullptr;
  const std::string host = host_name();
  if (metadata.disabled) {
    client.notice(fmt::format(
        "host {}: spot notices are not watched for, as AWS_EC2_METADATA_DISABLED is true", host));
    return nullptr;
  }
  SpotListener listener;
  listener.interruption = [&stop, host](const SpotNotice& notice) {
    stop.raise({fmt::format("EC2 takes host {} back ({} at {})", host, notice.action, notice.time),
                /*spot=*/true, notice.time_ms});
  };
  listener.rebalance = [&client, host](const std::string& time) {
    client.notice(fmt::format(
        "EC2 recommends to leave host {} (rebalance, noticed {}); a checkpoint is saved", host,
        time));
    client.want_checkpoint();
  };
  listener.trouble = [&client, host](const std::string& what) {
    client.notice(fmt::format("host {}: spot notices can't be watched for: {}", host, what));
  };
  return std::make_unique<SpotWatch>(metadata, std::move(listener));
}

}  // namespace

RankEnd run_rank(const TrainerOptions& options, const AddedModels& models, const RankRole& role,
                 const std::function<std::unique_ptr<Collective>()>& enter,
                 CoordinatorClient& client, StopRequest& stop, const MetadataConfig& metadata) {
  Membership membership = role.newcomer
                              ? client.join_as_newcomer(host_name(), Deadline::after(kJoinTimeout))
                              : client.join(host_name(), Deadline::after(kJoinTimeout));
  at::set_num_threads(compute_threads(options, membership));
  const Faults faults = faults_of(options, role.member);
  SessionOptions session_options;
  session_options.member = role.member;
  session_options.attempt = options.attempt;
  session_options.newcomer = role.newcomer;
  session_options.device = choose_device(options.device, role.local_rank);
  session_options.bucket_bytes = options.bucket_mib << 20;
  session_options.step_timeout = std::chrono::seconds(options.step_timeout_seconds);
  session_options.newcomer_command = newcomer_command(options);
  session_options.start_newcomer = [&mpi = role.mpi](std::vector<std::string> command) {
    return std::make_unique<Newcomer>(mpi, std::move(command));
  };
  session_options.models = models;
  session_options.metrics_every_steps = static_cast<std::uint64_t>(options.metrics_every_steps);
  session_options.faults = faults;
  session_options.data.cache = make_cache(options, role, client);
  if (!role.newcomer) {
    session_options.data.file_channels = options.file_channels;
    session_options.data.part = role.local_rank;
    session_options.data.parts = role.mpi.local_size();
  }
  client.progress({Phase::kLoading, 0, 0, 0, 0, 0, 0});
  const TellOfStop told(stop, client);
  const auto spot = watch_for_spot_notices(membership.job, role, metadata, client, stop);

  Session session(std::move(session_options), std::move(membership), client, stop.flag());
  if (role.newcomer) faults.at("enter", 0);
  std::unique_ptr<Collective> ranks = enter();
  if (!ranks) return {Outcome::kLeft, true};
  const c10::Device device = session.device();
  if (device.is_cuda()) {
    ranks = load_nccl_collective(nccl_module(), std::move(ranks), {.device = device.index()},
                                 Deadline::after(kConnectTimeout));
  }
  const Outcome outcome = session.run(std::move(ranks));
  return {outcome, role.newcomer || session.members_changed()};
}

}  // namespace musher
