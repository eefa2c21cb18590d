#include "coordinator/endpoints/places.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "launch/mpirun.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;

bool lives(const Instance& instance) {
  return instance.state() == Instance::Starting || instance.state() == Instance::Ready ||
         instance.state() == Instance::InService;
}

/// Slots that instances of this revision have there.
int held(const v1::EndpointRecord& record, const std::string& host, int revision) {
  return static_cast<int>(std::ranges::count_if(record.instances(), [&](const Instance& one) {
    return one.host() == host && one.revision() == revision && lives(one);
  }));
}

/// How little a host is wanted: the least goes first.
std::tuple<bool, int, int> rank_of(const Places& places, const v1::EndpointRecord& record,
                                   const std::string& host) {
  const auto count = [&](auto which) {
    return static_cast<int>(std::ranges::count_if(
        record.instances(), [&](const Instance& one) { return one.host() == host && which(one); }));
  };
  const bool ends =
      count([](const Instance& one) { return one.state() == Instance::Stopping; }) > 0;
  const int own = count(lives);
  const auto others = places.others.find(host);
  return {ends, own, own + (others == places.others.end() ? 0 : others->second)};
}

std::vector<std::string> remote_names(const std::vector<HostSlots>& hosts) {
  std::vector<std::string> names;
  for (const HostSlots& host : hosts) {
    if (!is_this_machine(host.host)) names.push_back(host.host);
  }
  return names;
}

void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

}  // namespace

std::optional<std::string> choose_host(const Places& places, const v1::EndpointRecord& record,
                                       int revision) {
  const HostSlots* best = nullptr;
  for (const HostSlots& host : places.hosts) {
    if (places.lost.contains(host.host) || held(record, host.host, revision) >= host.slots)
      continue;
    if (best == nullptr ||
        rank_of(places, record, host.host) < rank_of(places, record, best->host)) {
      best = &host;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(best->host);
}

std::string why_no_room(const Places& places, const v1::EndpointRecord& record, int revision) {
  std::vector<std::string> reasons;
  for (const HostSlots& host : places.hosts) {
    const auto lost = places.lost.find(host.host);
    reasons.push_back(lost != places.lost.end()
                          ? fmt::format("{} can't be used now: {}", host.host, lost->second)
                          : fmt::format("{} has {} in {} slots", host.host,
                                        held(record, host.host, revision), host.slots));
  }
  return fmt::format("no host has room for another instance: {}", fmt::join(reasons, "; "));
}

bool is_misplaced(const Places& places, const v1::EndpointInstance& instance) {
  return !places.hosts.empty() && std::ranges::none_of(places.hosts, [&](const HostSlots& host) {
    return instance.host().empty() ? is_this_machine(host.host) : host.host == instance.host();
  });
}

bool is_elsewhere(const v1::EndpointInstance& instance) {
  return !instance.host().empty() && !is_this_machine(instance.host());
}

void check_places(const v1::EndpointSettings& settings, const std::vector<HostSlots>& hosts) {
  if (hosts.empty()) return;
  int slots = 0;
  for (const HostSlots& host : hosts) slots += host.slots;
  if (settings.min_capacity() > slots) {
    refuse(fmt::format("MinCapacity: the hosts have room for {} instances, their slots, not for {}",
                       slots, settings.min_capacity()));
  }
  const auto remote = remote_names(hosts);
  if (remote.empty()) return;
  const std::string where =
      fmt::format("is on one machine's disk, and instances run on {}: name an s3:// one",
                  fmt::join(remote, ", "));
  if (!settings.model().starts_with("s3://"))
    refuse(fmt::format("ModelDataUrl: {} {}", settings.model(), where));
  for (const std::string& option : settings.server_options()) {
    if (option.starts_with("allow-url=") && !option.starts_with("allow-url=s3://"))
      refuse(fmt::format("ServerOptions: {} {}", option, where));
  }
}

}  // namespace musher
