// What ends training on a host from outside: EC2's notices and signals.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"
#include "launch/mpirun.h"

namespace musher {

namespace {

using std::chrono::milliseconds;

/// From when EC2 said that a host goes until it may be tried again: it should be gone by then.
constexpr milliseconds kGoneBy{30'000};
/// EC2 gives two minutes; another time than that is a mistake.
constexpr milliseconds kLongestNotice{600'000};
/// Whatever the notice says: so that a notice that does not go away makes no attempts in a row.
constexpr milliseconds kShortestRest{10'000};

/// What an EC2 instance at an address calls itself: 10.0.0.5 → ip-10-0-0-5.
std::string ec2_name(std::string address) {
  std::replace(address.begin(), address.end(), '.', '-');
  return "ip-" + address;
}

/// `told`: as its ranks call it; `named`: as it is reached.
bool same_host(const std::string& told, const std::string& named) {
  return told == named || (is_this_machine(told) && is_this_machine(named)) ||
         told.substr(0, told.find('.')) == ec2_name(named);
}

}  // namespace

/// It comes with every report once it is known.
void Coordinator::take_interruption(const JobPtr& job, int rank, const v1::Interruption& told) {
  const std::string before = job->state().interruption;
  apply(job, InterruptionNoticed{job->state().attempt, told.reason(), told.spot()});
  if (!told.spot() || job->state().interruption == before) return;
  const WallTime now = wall_now();
  const WallTime leaves =
      std::min(WallTime(milliseconds(told.host_leaves_ms())), now + kLongestNotice);
  for (const auto* known : {&job->membership->joined, &job->membership->newcomers}) {
    const auto member = known->find(rank);
    if (member == known->end()) continue;
    WallTime& until = leaving_hosts_[member->second.host];
    until = std::max({until, leaves + kGoneBy, now + kShortestRest});
  }
}

/// Not one that is taken back, or does not answer.
bool Coordinator::usable(const std::string& host) const {
  return !lost_hosts_.contains(host) &&
         std::none_of(leaving_hosts_.begin(), leaving_hosts_.end(),
                      [&](const auto& one) { return same_host(one.first, host); });
}

/// Those to start attempts on: others have no slots until they are back.
std::vector<HostSlots> Coordinator::usable_hosts() const {
  std::vector<HostSlots> hosts = hosts_;
  for (HostSlots& host : hosts) {
    if (!usable(host.host)) host.slots = 0;
  }
  return hosts;
}

/// Returns how long no other will be.
milliseconds Coordinator::welcome_hosts(WallTime now) {
  schedule_wanted_ |=
      std::erase_if(leaving_hosts_, [&](const auto& one) { return one.second <= now; }) > 0;
  schedule_wanted_ |=
      std::erase_if(lost_hosts_, [&](const auto& one) { return one.second.until <= now; }) > 0;
  milliseconds next = milliseconds::max();
  for (const auto& [host, lost] : lost_hosts_) next = std::min(next, lost.until - now);
  for (const auto& [host, until] : leaving_hosts_) next = std::min(next, until - now);
  return next;
}

/// mpirun would end its ranks half a second after a SIGTERM, so it is started with that blocked: it
/// stays pending, and the ranks are told instead.
void Coordinator::mpirun_told_to_end(const std::string& name, std::uint64_t attempt) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || job->state().attempt != attempt || !job->attempt) return;
  apply(job, InterruptionNoticed{attempt, "mpirun was told to end by signal 15 (Terminated)"});
  job->attempt->ask_to_stop();
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

}  // namespace musher
