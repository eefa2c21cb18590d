#include "coordinator/fleet_ledger.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {

namespace {

using nlohmann::json;

constexpr std::size_t kNameLength = 32 - 1 - 8;  // of a fleet's name: before `-` and the digits

template <typename Condition>
RentedFleet* find(FleetLedger& ledger, const Condition& condition) {
  const auto found = std::find_if(ledger.begin(), ledger.end(), condition);
  return found == ledger.end() ? nullptr : &*found;
}

json time_json(const std::optional<FleetTime>& time) {
  return time ? json(time_text(*time)) : json(nullptr);
}

std::optional<FleetTime> time_of(const json& value) {
  return value.is_null() ? std::nullopt : parse_time(value.get<std::string>());
}

}  // namespace

bool same_instances(const RentedFleet& a, const RentedFleet& b) {
  return a.type == b.type && a.instances == b.instances && a.spot == b.spot &&
         a.disk_gib == b.disk_gib;
}

RentedFleet* fleet_of(FleetLedger& ledger, const std::string& job) {
  return find(ledger, [&](const RentedFleet& one) { return one.job == job; });
}

RentedFleet* fleet_named(FleetLedger& ledger, const std::string& name) {
  return find(ledger, [&](const RentedFleet& one) { return one.name == name; });
}

bool take_fleet(FleetLedger& ledger, const RentedFleet& wanted, const FleetLimits& limits,
                FleetTime now) {
  RentedFleet* const kept = find(ledger, [&](const RentedFleet& one) {
    const bool lasts = !one.until || *one.until - now >= limits.least_left;
    return one.job.empty() && same_instances(one, wanted) && one.plan == wanted.plan && lasts;
  });
  if (kept != nullptr) {
    kept->job = wanted.job;
    kept->kept_until.reset();
    return true;
  }
  FleetLedger room = ledger;
  while (rented_instances(room) + wanted.instances > limits.max_instances) {
    const auto first =
        std::min_element(room.begin(), room.end(), [](const RentedFleet& a, const RentedFleet& b) {
          return a.kept_until.value_or(FleetTime::max()) < b.kept_until.value_or(FleetTime::max());
        });
    if (first == room.end() || !first->kept_until) return false;
    room.erase(first);
  }
  room.push_back(wanted);
  ledger = std::move(room);
  return true;
}

bool replace_instance(RentedFleet& fleet, const std::string& id, int most) {
  if (fleet.replaced.contains(id)) return true;
  if (fleet.replaced.size() >= static_cast<std::size_t>(most)) return false;
  fleet.replaced.insert(id);
  return true;
}

void release_fleet(FleetLedger& ledger, const std::string& job, std::optional<FleetTime> kept_until,
                   FleetTime now) {
  RentedFleet* const fleet = fleet_of(ledger, job);
  if (fleet == nullptr) return;
  fleet->job.clear();
  fleet->kept_until = kept_until.value_or(now);
  drop_expired(ledger, now);
}

void drop_expired(FleetLedger& ledger, FleetTime now) {
  std::erase_if(ledger, [&](const RentedFleet& one) {
    return one.job.empty() &&
           (one.kept_until.value_or(now) <= now || (one.until && *one.until <= now));
  });
}

std::optional<FleetTime> next_expiry(const FleetLedger& ledger) {
  std::optional<FleetTime> next;
  for (const RentedFleet& one : ledger) {
    if (one.kept_until) next = next ? std::min(*next, *one.kept_until) : one.kept_until;
  }
  return next;
}

int rented_instances(const FleetLedger& ledger) {
  int instances = 0;
  for (const RentedFleet& one : ledger) instances += one.instances;
  return instances;
}

std::string fleet_name(const std::string& job, const std::string& coordinator, FleetTime created) {
  const std::string digits =
      hex64(hash64(fmt::format("{} {} {}", job, coordinator,
                               static_cast<std::int64_t>(created.time_since_epoch().count()))));
  std::string name = job.substr(0, kNameLength);
  for (char& c : name) {
    const auto byte = static_cast<unsigned char>(c);
    c = std::isalnum(byte) != 0 ? static_cast<char>(std::tolower(byte)) : '-';
  }
  return name + "-" + digits.substr(0, 8);
}

std::vector<HostSlots> spread_evenly(const std::vector<std::string>& hosts, int ranks) {
  const int count = static_cast<int>(hosts.size());
  std::vector<HostSlots> placement;
  for (int i = 0; i < std::min(count, ranks); ++i) {
    const int slots = ranks / count + (i < ranks % count ? 1 : 0);
    placement.push_back({hosts[static_cast<std::size_t>(i)], slots});
  }
  return placement;
}

std::string ledger_text(const FleetLedger& ledger) {
  json fleets = json::array();
  for (const RentedFleet& one : ledger) {
    fleets.push_back({{"fleet", one.name},
                      {"made_for", one.made_for},
                      {"job", one.job},
                      {"type", one.type},
                      {"instances", one.instances},
                      {"spot", one.spot},
                      {"disk_gib", one.disk_gib},
                      {"plan", one.plan},
                      {"until", time_json(one.until)},
                      {"kept_until", time_json(one.kept_until)},
                      {"replaced", one.replaced}});
  }
  return json{{"fleets", fleets}}.dump(1) + "\n";
}

FleetLedger parse_ledger(const std::string& text) try {
  FleetLedger ledger;
  const json parsed = json::parse(text);
  for (const json& one : parsed.at("fleets")) {
    ledger.push_back({one.at("fleet"), one.at("made_for"), one.at("job"), one.at("type"),
                      one.at("instances"), one.at("spot"), one.value("disk_gib", 0), one.at("plan"),
                      time_of(one.at("until")), time_of(one.at("kept_until")),
                      one.value("replaced", std::set<std::string>())});
  }
  return ledger;
} catch (const json::exception& error) {
  throw Error(ErrorCode::kDataLoss,
              fmt::format("the record of rented instances can't be read: {}", error.what()));
}

}  // namespace musher
