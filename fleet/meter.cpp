#include "fleet/meter.h"

namespace musher {

/// EC2 bills what runs, not what is pending or on its way out.
void FleetMeter::add_up(const Seen& seen, Time now, FleetReading& reading) {
  const double passed = std::chrono::duration<double>(now - seen.at).count();
  for (const FleetInstance& one : seen.instances) {
    if (one.state == "running") reading.seconds[{one.type, one.spot}] += passed;
  }
}

void FleetMeter::see(const std::string& fleet, const std::vector<FleetInstance>& instances,
                     Time now) {
  forget(fleet, now);
  fleets_[fleet] = {instances, now};
}

void FleetMeter::forget(const std::string& fleet, Time now) {
  const auto seen = fleets_.find(fleet);
  if (seen == fleets_.end()) return;
  add_up(seen->second, now, total_);
  fleets_.erase(seen);
}

FleetReading FleetMeter::read(Time now) const {
  FleetReading reading = total_;
  for (const auto& [fleet, seen] : fleets_) {
    add_up(seen, now, reading);
    for (const FleetInstance& one : seen.instances) ++reading.instances[one.state];
  }
  return reading;
}

}  // namespace musher
