#include "trainer/run.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <unistd.h>

#include "common/error.h"
#include "trainer/collective/nccl_loader.h"
#include "trainer/device.h"
#include "trainer/session.h"

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
                                      std::to_string(options.step_timeout_seconds)};
  for (const std::string& fault : options.faults) {
    command.insert(command.end(), {"--inject-fault", fault});
  }
  return command;
}

Faults faults_of(const TrainerOptions& options, int member) {
  std::vector<Fault> faults;
  if (options.attempt > 1) return {};
  for (const std::string& text : options.faults) faults.push_back(parse_fault(text));
  return {faults, member};
}

}  // namespace

RankEnd run_rank(const TrainerOptions& options, const RankRole& role,
                 const std::function<std::unique_ptr<Collective>()>& enter,
                 CoordinatorClient& client, const std::atomic<bool>& stop_signal) {
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
  session_options.faults = faults;
  client.progress({Phase::kLoading, 0, 0, 0, 0, 0, 0});

  Session session(std::move(session_options), std::move(membership), client, stop_signal);
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
