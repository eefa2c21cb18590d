#include "coordinator/endpoints/endpoint_hosts.h"

#include <utility>

#include "common/error.h"
#include "coordinator/hosts.h"

namespace musher {
namespace {

using Lock = std::lock_guard<std::mutex>;

constexpr std::int64_t kLeftOutMs = 60'000;

}  // namespace

EndpointHosts::EndpointHosts(std::filesystem::path hostfile, bool may_be_remote, Logger logger)
    : hostfile_(std::move(hostfile)), may_be_remote_(may_be_remote), logger_(std::move(logger)) {
  if (hostfile_.empty()) return;
  hosts_ = read_hostfile(hostfile_);
  std::error_code ignored;
  read_ = std::filesystem::last_write_time(hostfile_, ignored);
}

/// The coordinator says in its log what is wrong with a new one.
void EndpointHosts::read_again() {
  if (hostfile_.empty()) return;
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(hostfile_, error);
  if (error || changed == read_) return;
  read_ = changed;
  try {
    std::vector<HostSlots> hosts = read_hostfile(hostfile_);
    if (any_remote(hosts) && !may_be_remote_) return;
    hosts_ = std::move(hosts);
    lost_.clear();  // whoever changes the file has looked after them
  } catch (const Error&) {
    return;
  }
}

std::vector<HostSlots> EndpointHosts::hosts() {
  const Lock lock(mutex_);
  read_again();
  return hosts_;
}

Places EndpointHosts::places_for(const std::string& endpoint, std::int64_t now_ms) {
  const Lock lock(mutex_);
  read_again();
  std::erase_if(lost_, [&](const auto& entry) { return entry.second.until_ms <= now_ms; });
  Places places{hosts_};
  for (const auto& [host, lost] : lost_) places.lost[host] = lost.why;
  for (const auto& [name, counts] : instances_) {
    if (name == endpoint) continue;
    for (const auto& [host, count] : counts) places.others[host] += count;
  }
  return places;
}

void EndpointHosts::note(const v1::EndpointRecord& record) {
  std::map<std::string, int> counts;
  for (const v1::EndpointInstance& instance : record.instances()) ++counts[instance.host()];
  const Lock lock(mutex_);
  instances_[record.name()] = std::move(counts);
}

void EndpointHosts::forget(const std::string& endpoint) {
  const Lock lock(mutex_);
  instances_.erase(endpoint);
}

void EndpointHosts::lose(const std::string& host, const std::string& why, std::int64_t now_ms) {
  const Lock lock(mutex_);
  const bool known = lost_.contains(host);
  lost_[host] = {now_ms + kLeftOutMs, why};
  if (!known) logger_->warn("host {} gets no instances for a minute: {}", host, why);
}

}  // namespace musher
