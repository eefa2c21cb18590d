#include "coordinator/fleet_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::MatchesRegex;

constexpr FleetTime kNow{1'000'000'000s};

RentedFleet fleet(const std::string& job, int instances = 2,
                  const std::string& type = "g5.xlarge") {
  RentedFleet fleet;
  fleet.name = "fleet-of-" + job;
  fleet.job = fleet.made_for = job;
  fleet.type = type;
  fleet.instances = instances;
  fleet.plan = "plan";
  return fleet;
}

std::vector<std::string> names(const FleetLedger& ledger) {
  std::vector<std::string> names;
  for (const RentedFleet& one : ledger) names.push_back(one.name);
  return names;
}

TEST(FleetLedger, AJobGetsAFleetOfItsOwnAsLongAsThereIsRoom) {
  FleetLedger ledger;
  const FleetLimits limits{5, 0s};
  EXPECT_TRUE(take_fleet(ledger, fleet("a"), limits, kNow));
  EXPECT_TRUE(take_fleet(ledger, fleet("b"), limits, kNow));
  const FleetLedger before = ledger;
  EXPECT_FALSE(take_fleet(ledger, fleet("c"), limits, kNow));
  EXPECT_EQ(ledger, before);
  EXPECT_EQ(rented_instances(ledger), 4);
  ASSERT_NE(fleet_of(ledger, "b"), nullptr);
  EXPECT_EQ(fleet_of(ledger, "b")->name, "fleet-of-b");
  EXPECT_EQ(fleet_of(ledger, "c"), nullptr);
}

TEST(FleetLedger, AtTheJobsEndItGoesUnlessItIsToBeKept) {
  FleetLedger ledger = {fleet("a"), fleet("b")};
  release_fleet(ledger, "a", std::nullopt, kNow);
  EXPECT_THAT(names(ledger), ElementsAre("fleet-of-b"));
  EXPECT_EQ(next_expiry(ledger), std::nullopt);
  release_fleet(ledger, "b", kNow + 60s, kNow);
  EXPECT_THAT(names(ledger), ElementsAre("fleet-of-b"));
  EXPECT_EQ(next_expiry(ledger), kNow + 60s);
  drop_expired(ledger, kNow + 59s);
  EXPECT_EQ(ledger.size(), 1);
  drop_expired(ledger, kNow + 60s);
  EXPECT_TRUE(ledger.empty());
  ledger = {fleet("late")};
  release_fleet(ledger, "late", kNow - 1s, kNow);
  EXPECT_TRUE(ledger.empty()) << "the coordinator was away for longer than that";
  release_fleet(ledger, "nobody", kNow + 60s, kNow);
  EXPECT_TRUE(ledger.empty());
}

TEST(FleetLedger, AKeptOneIsTakenByAJobAlikeAndByNoOther) {
  FleetLedger kept = {fleet("a")};
  kept[0].until = kNow + 3600s;
  release_fleet(kept, "a", kNow + 600s, kNow);
  const FleetLimits limits{100, 1800s};
  FleetLedger ledger = kept;
  ASSERT_TRUE(take_fleet(ledger, fleet("b"), limits, kNow));
  ASSERT_EQ(ledger.size(), 1);
  EXPECT_EQ(ledger[0].name, "fleet-of-a");
  EXPECT_EQ(ledger[0].made_for, "a") << "as its tag says";
  EXPECT_EQ(ledger[0].job, "b");
  EXPECT_FALSE(ledger[0].kept_until);
  RentedFleet other_plan = fleet("b");
  other_plan.plan = "other";
  RentedFleet spot = fleet("b");
  spot.spot = true;
  RentedFleet large = fleet("b");
  large.disk_gib = 500;
  for (const RentedFleet& other :
       {fleet("b", 3), fleet("b", 2, "g6.xlarge"), other_plan, spot, large}) {
    ledger = kept;
    ASSERT_TRUE(take_fleet(ledger, other, limits, kNow));
    EXPECT_THAT(names(ledger), ElementsAre("fleet-of-a", "fleet-of-b"));
  }
  ledger = kept;
  ASSERT_TRUE(take_fleet(ledger, fleet("b"), limits, kNow + 1801s));
  EXPECT_EQ(ledger.size(), 2) << "its own time is nearly up";
}

TEST(FleetLedger, KeptOnesMakeRoomThoseFirstThatWouldEndFirst) {
  FleetLedger ledger = {fleet("a"), fleet("b"), fleet("c")};
  release_fleet(ledger, "a", kNow + 600s, kNow);
  release_fleet(ledger, "b", kNow + 300s, kNow);
  const FleetLimits limits{7, 0s};
  FleetLedger larger = ledger;
  ASSERT_TRUE(take_fleet(larger, fleet("d", 3), limits, kNow));
  EXPECT_THAT(names(larger), ElementsAre("fleet-of-a", "fleet-of-c", "fleet-of-d"));
  const FleetLedger before = ledger;
  EXPECT_FALSE(take_fleet(ledger, fleet("e", 6), limits, kNow));
  EXPECT_EQ(ledger, before) << "nothing is given up for a job that has no room even so";
}

TEST(FleetLedger, SoManyInstancesInARowAreReplacedAndNoneIsCountedTwice) {
  RentedFleet one = fleet("a");
  EXPECT_TRUE(replace_instance(one, "i-1", 2));
  EXPECT_TRUE(replace_instance(one, "i-2", 2));
  EXPECT_TRUE(replace_instance(one, "i-1", 2)) << "it is on its way out";
  EXPECT_FALSE(replace_instance(one, "i-3", 2));
  EXPECT_THAT(one.replaced, ElementsAre("i-1", "i-2"));
  RentedFleet never = fleet("b");
  EXPECT_FALSE(replace_instance(never, "i-1", 0));
}

TEST(FleetLedger, ANameIsOneThatAwsTakesAndTellsJobsApart) {
  const std::string name = fleet_name("Dogs-of-a-very-long-name-indeed-42", "mark", kNow);
  EXPECT_THAT(name, MatchesRegex("dogs-of-a-very-long-nam-[0-9a-f]+"));
  EXPECT_NO_THROW(check_fleet_name(name));
  EXPECT_NO_THROW(check_fleet_name(fleet_name("a", "mark", kNow)));
  EXPECT_EQ(name, fleet_name("Dogs-of-a-very-long-name-indeed-42", "mark", kNow));
  EXPECT_NE(fleet_name("a", "mark", kNow), fleet_name("a", "other", kNow));
  EXPECT_NE(fleet_name("a", "mark", kNow), fleet_name("a", "mark", kNow + 1s))
      << "another job of the same name";
}

TEST(FleetLedger, RanksAreSpreadEvenlyAndNoHostIsNamedWithoutOne) {
  EXPECT_THAT(spread_evenly({"h1", "h2"}, 4), ElementsAre(HostSlots{"h1", 2}, HostSlots{"h2", 2}));
  EXPECT_THAT(spread_evenly({"h1", "h2"}, 3), ElementsAre(HostSlots{"h1", 2}, HostSlots{"h2", 1}));
  EXPECT_THAT(spread_evenly({"h1", "h2"}, 1), ElementsAre(HostSlots{"h1", 1}));
}

TEST(FleetLedger, IsReadAsItWasWritten) {
  FleetLedger ledger = {fleet("a"), fleet("b")};
  ledger[0].until = kNow + 3600s;
  ledger[0].spot = true;
  ledger[0].disk_gib = 64;
  ledger[0].replaced = {"i-1", "i-2"};
  release_fleet(ledger, "b", kNow + 60s, kNow);
  EXPECT_EQ(parse_ledger(ledger_text(ledger)), ledger);
  EXPECT_TRUE(parse_ledger(ledger_text({})).empty());
  for (const char* damaged : {"", "{", "{}", R"({"fleets": [{}]})"}) {
    EXPECT_THROW(parse_ledger(damaged), Error) << damaged;
  }
}

}  // namespace
}  // namespace musher
