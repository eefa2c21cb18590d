#include "fleet/keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;

FleetHost host(const std::string& address, const std::string& state, const std::string& key = "",
               const std::string& failure = "") {
  FleetHost host;
  host.instance.id = "i-" + address;
  host.instance.address = address;
  host.instance.state = state;
  host.key = key;
  host.failure = failure;
  return host;
}

TEST(FleetNews, AFleetIsReadyWhenAllOfItIs) {
  const FleetHost ready = host("10.0.0.1", "running", "ssh-ed25519 AAAA");
  FleetNews news = news_of("dogs", {ready}, 2);
  EXPECT_THAT(news.hosts, IsEmpty()) << "one is not there at all";
  EXPECT_EQ(news.waits_for, "Launching requested ML instances. 1 of 2 are ready.");
  news = news_of("dogs", {ready, host("10.0.0.2", "pending")}, 2);
  EXPECT_THAT(news.waits_for, StartsWith("Launching requested ML instances."));
  news = news_of("dogs", {ready, host("10.0.0.2", "running")}, 2);
  EXPECT_EQ(news.waits_for, "Preparing the instances for training. 1 of 2 are ready.");
  news = news_of("dogs", {ready, host("10.0.0.2", "running", "ssh-ed25519 BBBB")}, 2);
  EXPECT_THAT(news.hosts, ElementsAre("10.0.0.1", "10.0.0.2"));
  EXPECT_EQ(news.waits_for, "");
  news = news_of("dogs", {ready, host("10.0.0.2", "running", "", "line 9: apt-get")}, 2);
  EXPECT_EQ(news.failure, "the set-up of i-10.0.0.2 failed: line 9: apt-get");
}

TEST(FleetNews, AHostThatRunsAndIsNoGoodIsToBeReplacedThoughItWasReady) {
  FleetHost bad = host("10.0.0.2", "running", "ssh-ed25519 BBBB");
  bad.trouble = "EC2's system status check says impaired";
  const FleetNews news = news_of("dogs", {host("10.0.0.1", "running", "ssh-ed25519 AAAA"), bad}, 2);
  EXPECT_THAT(news.hosts, IsEmpty());
  EXPECT_EQ(news.failure, "");
  EXPECT_THAT(news.unfit, ElementsAre(Pair("i-10.0.0.2", bad.trouble)));
  EXPECT_THAT(news.ids,
              ElementsAre(Pair("10.0.0.1", "i-10.0.0.1"), Pair("10.0.0.2", "i-10.0.0.2")));
}

TEST(FleetNews, WhatEc2HasNoRoomForIsWaitedForAndFailsInTheEnd) {
  const Error error(ErrorCode::kUnavailable, "aws ec2 run-instances: none left");
  for (const char* code : {"InsufficientInstanceCapacity", "VcpuLimitExceeded"}) {
    const FleetNews waits = news_of("dogs", error, code, 59s, 60s);
    EXPECT_EQ(waits.failure, "");
    EXPECT_EQ(waits.waits_for,
              "Insufficient capacity error from EC2 while launching instances, retrying! aws ec2 "
              "run-instances: none left");
    const FleetNews fails = news_of("dogs", error, code, 60s, 60s);
    EXPECT_THAT(fails.failure, StartsWith("CapacityError: Unable to provision requested ML compute "
                                          "capacity"));
    EXPECT_THAT(fails.failure, HasSubstr("none left"));
  }
}

TEST(FleetNews, AwsThatIsAwayIsWaitedForAndARefusalIsNot) {
  const Error away(ErrorCode::kUnavailable, "Could not connect");
  EXPECT_EQ(news_of("dogs", away, "", 7200s, 60s).failure, "");
  EXPECT_THAT(news_of("dogs", away, "", 7200s, 60s).waits_for, HasSubstr("tries again"));
  const Error refused(ErrorCode::kPermissionDenied, "not for you");
  EXPECT_EQ(news_of("dogs", refused, "UnauthorizedOperation", 0s, 60s).failure, "not for you");
}

}  // namespace
}  // namespace musher
