// Attempts whose ranks run on other machines: what has to be there before mpirun starts, what is
// ended after it, and hosts that do not answer.

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/checksum.h"
#include "coordinator/coordinator.h"
#include "coordinator/host_agent.h"
#include "coordinator/host_check.h"
#include "coordinator/host_probe.h"
#include "rpc/tls.h"

namespace musher {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr auto kStageTime = std::chrono::seconds(20);
constexpr auto kLeaveTime = std::chrono::seconds(10);
/// From when a host did not answer until it is tried again.
constexpr milliseconds kLeftOut{60'000};

std::int64_t now_ms() {
  return wall_now().time_since_epoch().count();
}

/// This machine's programs and libraries: a job's ranks are all of one build.
Expectations expected_of(const json& request) {
  Expectations expected;
  expected.build = build_of(request.at("programs").get<std::vector<std::string>>());
  const std::filesystem::path prefix = request.at("prefix").get<std::string>();
  expected.libraries = std::filesystem::weakly_canonical(prefix).filename();
  expected.sent_ms = now_ms();
  return expected;
}

/// A host that is not fit is as good as one that does not answer.
void judge_hosts(std::vector<HostAnswer>& answers, Expectations expected) {
  expected.received_ms = now_ms();
  for (HostAnswer& answer : answers) {
    if (!answer.ok()) continue;
    answer.error = fmt::format("{}", fmt::join(problems_of(answer, expected), "; "));
  }
}

/// The fewest of any host.
int cores_of(const std::vector<HostAnswer>& answers) {
  int cores = answers.front().reply.at("cores").get<int>();
  for (const HostAnswer& answer : answers) {
    cores = std::min(cores, answer.reply.at("cores").get<int>());
  }
  return cores;
}

int most_slots(const std::vector<HostSlots>& placement) {
  int most = 1;
  for (const HostSlots& host : placement) most = std::max(most, host.slots);
  return most;
}

}  // namespace

/// The same path on each host. It is not known to others, though it is no secret: the user's alone.
std::filesystem::path Coordinator::staged_folder(const std::string& token) const {
  const auto parent = options_.slurm ? options_.slurm->folder : options_.scratch.parent_path();
  return parent / ("musher-" + hex64(hash64("folder of " + token)));
}

std::filesystem::path Coordinator::staged_folder(const ActiveJob& job) const {
  return staged_folder(job.membership->token);
}

/// An argument of each process of the attempt, wherever it runs.
std::filesystem::path Coordinator::token_file(const ActiveJob& job) const {
  return (job.over_hosts ? staged_folder(job) : attempt_folder(job)) / "token";
}

/// Prepares the hosts in a thread; spawn() follows.
void Coordinator::stage(const JobPtr& job, AttemptRecord record) {
  retire(job->staging);
  const json request = {{"do", "stage"},
                        {"folder", staged_folder(*job).string()},
                        {"files", rank_files(record.token, options_.worker_tls, options_.access)},
                        {"programs", {options_.access.musher, options_.trainer}},
                        {"prefix", options_.access.prefix},
                        {"disk", options_.scratch.parent_path().string()}};
  const auto done = std::make_shared<std::atomic<bool>>(false);
  auto work = [this, name = job->name(), record = std::move(record), request,
               access = access_of(*job), hosts = names_of(job->placement), done] {
    Staging staging;
    Expectations expected = expected_of(request);
    staging.answers = ask_hosts(access, hosts, request, Deadline::after(kStageTime));
    judge_hosts(staging.answers, expected);
    const bool all = std::all_of(staging.answers.begin(), staging.answers.end(),
                                 [](const HostAnswer& answer) { return answer.ok(); });
    try {
      if (all) {
        staging.network =
            choose_network(networks_of(staging.answers), parse_network(options_.access.network));
      }
    } catch (const std::exception& error) {
      staging.failure = error.what();
    }
    if (!staged(name, record, staging)) {
      const json end = {{"do", "end"}, {"folder", request.at("folder")}};
      ask_hosts(access, hosts, end, Deadline::after(kLeaveTime));
    }
    *done = true;
  };
  job->staging = {std::make_shared<Thread>("stage", std::move(work)), done};
}

/// Whether mpirun was started.
bool Coordinator::staged(const std::string& name, const AttemptRecord& record,
                         const Staging& staging) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (ending_ || !job || !job->membership || job->state().attempt != record.attempt ||
      job->killed) {
    return false;
  }
  for (const HostAnswer& answer : staging.answers) {
    if (!answer.ok()) lose_host(job, answer.host, answer.error);
  }
  if (job->host_trouble.empty() && job->rented) all_hosts_answer(job);
  if (!staging.failure.empty()) apply(job, JobFailed{staging.failure});
  if (!job->host_trouble.empty() || !staging.failure.empty() || job->stop) {
    job->unbegun = !job->host_trouble.empty();
    end_attempt(job);
    return false;
  }
  try {
    note_host_names(job, staging.answers);
    spawn(job, record, mpirun_on(job, staging));
    return true;
  } catch (const std::exception& error) {
    apply(job, JobFailed{error.what()});
    end_attempt(job);
    return false;
  }
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
  return false;
}

/// What mpirun has to know of other hosts.
MpirunOptions Coordinator::mpirun_on(const JobPtr& job, const Staging& staging) {
  const std::filesystem::path folder = staged_folder(*job);
  std::vector<std::pair<std::string, int>> hosts;
  for (const HostSlots& host : job->placement) hosts.emplace_back(host.host, host.slots);
  const std::filesystem::path hostfile = attempt_folder(*job) / "hosts";
  std::filesystem::create_directories(attempt_folder(*job));
  write_private_file(hostfile, hostfile_text(hosts));
  MpirunOptions mpirun;
  mpirun.hostfile = hostfile;
  mpirun.cores = cores_of(staging.answers);
  mpirun.ranks_per_host = most_slots(job->placement);
  mpirun.coordinator = Endpoint{address_, folder}.text();
  mpirun.session_folder = folder;
  mpirun.prefix = options_.access.prefix;
  mpirun.ssh = ssh_agent(access_of(*job).ssh);
  mpirun.networks = staging.network.networks;
  mpirun.exported = options_.access.environment;
  // `=`: these very names, not all that begin so.
  mpirun.exported["NCCL_SOCKET_IFNAME"] =
      fmt::format("={}", fmt::join(staging.network.interfaces, ","));
  if (!options_.access.store_credentials.empty()) {
    mpirun.exported["AWS_SHARED_CREDENTIALS_FILE"] = folder / "credentials";
  }
  log_line(job, fmt::format("hosts {}: MPI over {}, NCCL over {}",
                            fmt::join(names_of(job->placement), ", "),
                            fmt::join(staging.network.networks, ", "),
                            fmt::join(staging.network.interfaces, ", ")));
  return mpirun;
}

/// After mpirun: ends what it left on the hosts, and finds out which of them is gone.
void Coordinator::leave_hosts(const std::string& name, std::uint64_t attempt,
                              const HostAccess& access, const std::vector<std::string>& hosts,
                              const std::filesystem::path& folder) try {
  const json request = {{"do", "end"}, {"folder", folder.string()}};
  const auto answers = ask_hosts(access, hosts, request, Deadline::after(kLeaveTime));
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || job->state().attempt != attempt) return;
  for (const HostAnswer& answer : answers) {
    if (!answer.ok()) lose_host(job, answer.host, answer.error);
  }
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

/// It gets no more ranks until it is tried again.
void Coordinator::lose_host(const JobPtr& job, const std::string& host, const std::string& why) {
  lost_hosts_[host] = {wall_now() + kLeftOut, why};
  const std::string text = fmt::format("host {} can't be used: {}", host, why);
  if (job->host_trouble.empty()) job->host_trouble = text;
  add_notice(job, text);
  job->told_too_large = false;
  schedule_wanted_ = true;
  if (job->rented) miss_rented_host(job, host, why);
}

/// Takes the hostfile up where it has changed. One that is not right changes nothing.
void Coordinator::read_hosts() {
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(options_.hostfile, error);
  if (error || changed == hosts_read_) return;
  hosts_read_ = changed;
  try {
    std::vector<HostSlots> hosts = read_hostfile(options_.hostfile);
    if (any_remote(hosts) && options_.worker_tls.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "hosts on other machines need --tls and an address that they reach");
    }
    hosts_ = std::move(hosts);
    lost_hosts_.clear();  // whoever changes the file has looked after them
    logger_->info("hosts: {}, with {} slots", fmt::join(names_of(hosts_), ", "),
                  total_slots(hosts_));
  } catch (const std::exception& failure) {
    logger_->error("{}; the hosts stay as they were", failure.what());
    return;
  }
  for (const auto& [name, job] : jobs_) job->told_too_large = false;
  schedule_wanted_ = true;
}

/// A job that ran on a host that is gone goes on with as many ranks as the others have room for:
/// the samples of each step are the same.
void Coordinator::shrink_to_hosts(const JobPtr& job, const std::vector<HostSlots>& usable) {
  const JobState& state = job->state();
  const int slots = total_slots(usable);
  if (state.attempt == 0 || lost_hosts_.empty() || slots < 1 || state.ranks <= slots ||
      state.ranks > total_slots(hosts_)) {
    return;
  }
  // One that never trained waits for what it asked for.
  if (!store_.newest_generation(job->name())) return;
  std::vector<std::string> lost;
  for (const auto& [host, why] : lost_hosts_) lost.push_back(host);
  add_notice(job,
             fmt::format("goes on with {} of {} ranks, as many as there is room for without {}",
                         slots, state.ranks, fmt::join(lost, ", ")));
  apply(job, Resized{slots});
}

}  // namespace musher
