#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/deadline.h"
#include "fleet/fleet.h"

namespace musher {

/// What is rented and was rented, for metrics.
struct FleetReading {
  std::map<std::string, int> instances;  ///< EC2's state → how many
  std::uint64_t started = 0;             ///< instances that EC2 was asked for and gave
  /// (call, EC2's code) → how many calls failed; the code is empty where AWS was not reached.
  std::map<std::pair<std::string, std::string>, std::uint64_t> failures;
  /// (instance type, spot) → seconds that instances ran, of all of them together.
  std::map<std::pair<std::string, bool>, double> seconds;
};

/// Adds up what is seen of fleets: instances count as they were last seen until they are seen
/// otherwise. A value that takes the time as a parameter; one thread at a time.
class FleetMeter {
 public:
  using Time = Deadline::Clock::time_point;

  void see(const std::string& fleet, const std::vector<FleetInstance>& instances, Time now);
  /// Nothing is left of it.
  void forget(const std::string& fleet, Time now);
  void count_started(int instances) { total_.started += static_cast<std::uint64_t>(instances); }
  void count_failure(const std::string& call, const std::string& aws_code) {
    ++total_.failures[{call, aws_code}];
  }

  FleetReading read(Time now) const;

 private:
  struct Seen {
    std::vector<FleetInstance> instances;
    Time at;
  };
  static void add_up(const Seen& seen, Time now, FleetReading& reading);

  std::map<std::string, Seen> fleets_;
  FleetReading total_;  ///< but for `instances`, and the time since fleets_ were seen
};

}  // namespace musher
