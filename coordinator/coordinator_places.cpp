// Where ranks are: which hosts give slots back, and how the process of a rank is ended, wherever it
// runs.

#include <algorithm>
#include <fstream>

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "coordinator/coordinator.h"
#include "coordinator/host_agent.h"
#include "launch/mpirun.h"

namespace musher {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kLeftOutTime{5};
constexpr std::chrono::seconds kKillTime{10};
constexpr char kNames[] = "host-names.json";

std::optional<Member> member_of(const AttemptMembership& membership, int rank) {
  for (const auto* ranks : {&membership.joined, &membership.newcomers}) {
    if (const auto found = ranks->find(rank); found != ranks->end()) return found->second;
  }
  return std::nullopt;
}

}  // namespace

/// For the next coordinator too.
void Coordinator::note_host_names(const JobPtr& job, const std::vector<HostAnswer>& answers) {
  for (const HostAnswer& answer : answers) {
    job->host_names[answer.reply.at("host").get<std::string>()] = answer.host;
  }
  std::filesystem::create_directories(attempt_folder(*job));
  write_private_file(attempt_folder(*job) / kNames, json(job->host_names).dump());
}

/// Of an attempt that ran when the last coordinator ended.
void Coordinator::recall_hosts(const JobPtr& job) {
  job->over_hosts = any_remote(job->placement);
  std::ifstream names(attempt_folder(*job) / kNames);
  if (!names) return;
  job->over_hosts = true;  // it may have shrunk to this machine
  const json read = json::parse(names, nullptr, /*allow_exceptions=*/false);
  if (read.is_object()) job->host_names = read.get<std::map<std::string, std::string>>();
}

/// All on which an attempt over several hosts began, though it may have given some back since.
std::vector<std::string> Coordinator::hosts_of(const ActiveJob& job) const {
  std::vector<std::string> hosts = names_of(job.placement);
  for (const auto& [told, named] : job.host_names) {
    if (std::find(hosts.begin(), hosts.end(), named) == hosts.end()) hosts.push_back(named);
  }
  return hosts;
}

/// `told`: as its ranks call it.
std::string Coordinator::named_host(const ActiveJob& job, const std::string& told) const {
  const auto found = job.host_names.find(told);
  return found == job.host_names.end() ? told : found->second;
}

/// Members by host, as the hostfile names it.
std::map<std::string, int> Coordinator::held_slots(const ActiveJob& job) const {
  std::map<std::string, int> held;
  for (const Member& member : job.membership->generation->members) {
    ++held[named_host(job, member.host)];
  }
  return held;
}

void Coordinator::save_placement(const JobPtr& job, const std::vector<HostSlots>& placement) {
  if (placement == job->placement) return;
  if (auto record = store_.newest_attempt(job->name())) {
    record->placement = placement;
    store_.save_attempt(job->name(), *record);
  }
  job->placement = placement;
  schedule_wanted_ = true;
}

/// Gives back the slots that neither a rank holds nor one that is wanted will.
void Coordinator::release_slots(const JobPtr& job) {
  const int there = static_cast<int>(job->state().members.size());
  const int keep = std::max(job->state().ranks, there);
  const bool placed = job->over_hosts && job->membership && job->membership->generation;
  save_placement(
      job, placed ? shrunk(job->placement, keep, held_slots(*job)) : shrunk(job->placement, keep));
}

/// Whether this coordinator can end the process of a rank that has joined.
bool Coordinator::can_kill(const JobPtr& job, int rank) {
  const auto life = job->ranks.find(rank);
  if (life != job->ranks.end() && life->second.process) return true;
  return job->over_hosts && !job->slurm && member_of(*job->membership, rank);
}

/// Here by its pid, whose process must still be the one that joined; elsewhere by a thread.
void Coordinator::kill_rank(const JobPtr& job, int rank) {
  const auto life = job->ranks.find(rank);
  if (life != job->ranks.end() && life->second.process) {
    if (const auto process = Process::find(*life->second.process)) process->signal(SIGKILL);
  } else if (can_kill(job, rank)) {
    kill_elsewhere(job, *member_of(*job->membership, rank));
  }
}

void Coordinator::kill_elsewhere(const JobPtr& job, const Member& member) {
  const json request = {
      {"do", "kill"}, {"folder", staged_folder(*job).string()}, {"pid", member.pid}};
  const auto done = std::make_shared<std::atomic<bool>>(false);
  auto work = [this, name = job->name(), attempt = job->state().attempt, rank = member.rank,
               host = named_host(*job, member.host), access = access_of(*job), request, done] {
    rank_killed(name, attempt, rank,
                ask_hosts(access, {host}, request, Deadline::after(kKillTime)).front());
    *done = true;
  };
  helpers_.push_back({std::make_shared<Thread>("kill", std::move(work)), done});
}

void Coordinator::rank_killed(const std::string& name, std::uint64_t attempt, int rank,
                              const HostAnswer& answer) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || !job->membership || job->state().attempt != attempt) return;
  if (!answer.ok()) {
    log_line(job, fmt::format("rank {} on host {} can't be killed: {}", rank, answer.host,
                              answer.error));
  } else if (answer.reply.value("killed", false)) {
    lose_rank(job, rank, "was left out by the others, and killed");  // unless more is known
  }
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

/// A rank that the others went on without may run all the same, or be stopped: it ends by itself
/// when it is told, or is ended.
void Coordinator::end_left_out(const JobPtr& job, Deadline::Clock::time_point now) {
  std::erase_if(job->left_out, [&](const auto& entry) {
    const auto& [rank, left_out] = entry;
    if (now - left_out.since < kLeftOutTime) return false;
    if (!left_out.process) {
      const auto loss = job->state().lost.find(rank);
      const bool ended = loss == job->state().lost.end() || loss->second.seen;
      if (!ended && job->over_hosts && !job->slurm) kill_elsewhere(job, left_out.member);
    } else if (const auto found = Process::find(*left_out.process)) {
      lose_rank(job, rank, "was left out by the others, and killed");
      found->signal(SIGKILL);
    }
    return true;
  });
}

/// A member's process where it is one that this coordinator may kill: on this machine, of this
/// attempt, and not itself.
std::optional<ProcessIdentity> Coordinator::process_of(const ActiveJob& job,
                                                       const Member& member) const {
  const pid_t pid = static_cast<pid_t>(member.pid);
  if (pid == ::getpid() || !is_this_machine(member.host)) return std::nullopt;
  const std::string marker = options_.ranks_are_here ? "" : token_file(job).string();
  return identify(pid, marker);
}

}  // namespace musher
