#include "fleet/meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

FleetInstance instance(const std::string& id, const std::string& state, bool spot = false) {
  FleetInstance one;
  one.id = id;
  one.state = state;
  one.type = "g5.xlarge";
  one.spot = spot;
  return one;
}

TEST(FleetMeter, InstancesRunUntilTheyAreSeenOtherwise) {
  const FleetMeter::Time start{};
  FleetMeter meter;
  meter.see("dogs", {instance("i-1", "running"), instance("i-2", "pending")}, start);
  meter.see("cats", {instance("i-3", "running", true)}, start + 10s);
  FleetReading reading = meter.read(start + 60s);
  EXPECT_THAT(reading.instances, ElementsAre(Pair("pending", 1), Pair("running", 2)));
  EXPECT_THAT(reading.seconds, ElementsAre(Pair(Pair("g5.xlarge", false), 60.0),
                                           Pair(Pair("g5.xlarge", true), 50.0)))
      << "what is pending costs nothing";
  meter.see("dogs", {instance("i-1", "running"), instance("i-2", "running")}, start + 60s);
  meter.forget("cats", start + 70s);
  meter.forget("nobody's", start + 70s);
  reading = meter.read(start + 90s);
  EXPECT_THAT(reading.instances, ElementsAre(Pair("running", 2)));
  EXPECT_THAT(reading.seconds, ElementsAre(Pair(Pair("g5.xlarge", false), 120.0),
                                           Pair(Pair("g5.xlarge", true), 60.0)));
}

TEST(FleetMeter, CountsWhatWasStartedAndWhatFailed) {
  FleetMeter meter;
  EXPECT_THAT(meter.read({}).failures, IsEmpty());
  meter.count_started(4);
  meter.count_started(0);
  meter.count_failure("run-instances", "InsufficientInstanceCapacity");
  meter.count_failure("run-instances", "InsufficientInstanceCapacity");
  meter.count_failure("describe-images", "");
  const FleetReading reading = meter.read({});
  EXPECT_EQ(reading.started, 4);
  EXPECT_THAT(reading.failures,
              ElementsAre(Pair(Pair("describe-images", ""), 1),
                          Pair(Pair("run-instances", "InsufficientInstanceCapacity"), 2)));
}

}  // namespace
}  // namespace musher
