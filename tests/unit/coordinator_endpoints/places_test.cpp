#include "coordinator/endpoints/places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/endpoints/plan.h"
#include "coordinator/endpoints/settings.h"
#include "launch/mpirun.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;
using Kind = InstanceStep::Kind;
using test::expect_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<HostSlots> kTwo = {{"h1", 2}, {"h2", 2}};

void add(v1::EndpointRecord& record, const std::string& host, Instance::State state,
         int revision = 1) {
  Instance& instance = *record.add_instances();
  instance.set_number(record.instances_size());
  instance.set_host(host);
  instance.set_state(state);
  instance.set_revision(revision);
}

TEST(ChooseHost, SpreadsOverThoseThatAreThere) {
  v1::EndpointRecord record;
  EXPECT_EQ(choose_host({kTwo}, record, 1), "h1");
  add(record, "h1", Instance::Starting);
  EXPECT_EQ(choose_host({kTwo}, record, 1), "h2");
  EXPECT_EQ(choose_host({kTwo, {{"h2", "no route"}}}, record, 1), "h1");
  add(record, "h2", Instance::InService);
  EXPECT_EQ(choose_host({kTwo}, record, 1), "h1");
  EXPECT_EQ(choose_host({kTwo, {}, {{"h1", 3}, {"h2", 1}}}, record, 1), "h2")
      << "what other endpoints have there decides between equals";
  EXPECT_EQ(choose_host({}, record, 1), std::nullopt);
}

TEST(ChooseHost, ALateReplacementDoesNotGoWhereItsPredecessorIsBeingKilled) {
  v1::EndpointRecord record;
  add(record, "h1", Instance::InService);
  add(record, "h2", Instance::Stopping);
  EXPECT_EQ(choose_host({kTwo}, record, 1), "h1");
  add(record, "h1", Instance::Starting);
  EXPECT_EQ(choose_host({kTwo}, record, 1), "h2") << "h1 is full";
}

TEST(ChooseHost, AHostHasAsManyOfARevisionAsSlots) {
  v1::EndpointRecord record;
  for (const char* host : {"h1", "h1", "h2", "h2"}) add(record, host, Instance::InService);
  EXPECT_EQ(choose_host({kTwo}, record, 1), std::nullopt);
  EXPECT_EQ(why_no_room({kTwo, {{"h2", "ssh: no route"}}}, record, 1),
            "no host has room for another instance: h1 has 2 in 2 slots; h2 can't be used now: "
            "ssh: no route");
  EXPECT_EQ(choose_host({kTwo}, record, 2), "h1") << "an update's are started beside them";
}

/// An endpoint over hosts, whose instances answer when they are told to.
struct Fleet {
  explicit Fleet(int desired) {
    v1::EndpointSettings given;
    given.set_model("s3://b/m.tar.gz");
    record.set_status(v1::EndpointStatus::Creating);
    record.set_revision(1);
    record.set_last_revision(1);
    record.set_desired(desired);
    *record.mutable_settings() = with_defaults(given);
    step();
    all_ready();
  }
  EndpointPlan step(std::int64_t milliseconds = 100) {
    now += milliseconds;
    return advance(record, sights, now, {}, places);
  }
  EndpointPlan all_ready() {
    for (const Instance& instance : record.instances()) sights[instance.number()].ready = true;
    return step();
  }
  std::vector<std::string> instances() const {
    std::vector<std::string> texts;
    for (const Instance& instance : record.instances()) {
      texts.push_back(instance_place(instance) + " " + Instance::State_Name(instance.state()));
    }
    return texts;
  }

  v1::EndpointRecord record;
  Sights sights;
  Places places{kTwo};
  std::int64_t now = 1'000'000;
};

TEST(EndpointOverHosts, WhatWasOnAHostThatIsLostIsReplacedOnAnother) {
  Fleet fleet(2);
  ASSERT_THAT(fleet.instances(), ElementsAre("i-1 on h1 InService", "i-2 on h2 InService"));
  fleet.places.lost["h2"] = "no route";
  fleet.sights[2] = {.alive = false, .end = "the connection to the host ended"};
  const EndpointPlan plan = fleet.step();
  EXPECT_THAT(fleet.instances(), ElementsAre("i-1 on h1 InService", "i-3 on h1 Starting"));
  ASSERT_EQ(plan.activities.size(), 1U);
  EXPECT_EQ(plan.activities[0].cause(), "i-2 on h2 ended: the connection to the host ended");
}

TEST(EndpointOverHosts, SaysWhyAnInstanceHasNoRoomUntilItHas) {
  Fleet fleet(2);
  fleet.places = {{{"h1", 1}, {"h2", 1}}, {{"h2", "no route"}}};
  fleet.sights[2] = {.alive = false, .end = ""};
  EXPECT_TRUE(fleet.step().changed);
  EXPECT_THAT(fleet.record.no_room(), HasSubstr("h2 can't be used now: no route"));
  EXPECT_FALSE(fleet.step().changed) << "it is stored once";
  fleet.places.lost.clear();
  EXPECT_THAT(fleet.step().steps, ElementsAre(InstanceStep{Kind::kStart, 3}));
  EXPECT_THAT(fleet.record.no_room(), IsEmpty());
  EXPECT_THAT(fleet.instances(), ElementsAre("i-1 on h1 InService", "i-3 on h2 Starting"));
}

TEST(EndpointOverHosts, WhatIsOnAHostThatLeftTheFileGoesWhenOthersServe) {
  Fleet fleet(2);
  fleet.places = {{{"h1", 2}}};
  EXPECT_THAT(fleet.step().steps, ElementsAre(InstanceStep{Kind::kStart, 3}));
  EXPECT_THAT(fleet.instances(),
              ElementsAre("i-1 on h1 InService", "i-2 on h2 InService", "i-3 on h1 Starting"));
  fleet.all_ready();
  EXPECT_THAT(fleet.instances(),
              ElementsAre("i-1 on h1 InService", "i-2 on h2 Draining", "i-3 on h1 InService"));
}

TEST(Places, AreThisMachineAloneWithoutAHostfile) {
  Instance instance;
  EXPECT_FALSE(is_elsewhere(instance));
  EXPECT_FALSE(is_misplaced({}, instance));
  EXPECT_FALSE(is_misplaced({{{this_machine(), 1}}}, instance));
  EXPECT_TRUE(is_misplaced({kTwo}, instance));
  instance.set_host(this_machine());
  EXPECT_FALSE(is_elsewhere(instance));
  instance.set_host("h1");
  EXPECT_TRUE(is_elsewhere(instance));
}

TEST(Places, RefuseWhatOtherMachinesDoNotHave) {
  v1::EndpointSettings given;
  given.set_model("file:///m.tar.gz");
  given.set_min_capacity(5);
  check_places(with_defaults(given), {});
  expect_error(ErrorCode::kInvalidArgument, {"MinCapacity", "4", "5"},
               [&] { check_places(with_defaults(given), kTwo); });
  given.set_min_capacity(4);
  expect_error(ErrorCode::kInvalidArgument, {"ModelDataUrl", "file:///m.tar.gz", "h1, h2", "s3://"},
               [&] { check_places(with_defaults(given), kTwo); });
  check_places(with_defaults(given), {{"localhost", 4}});
  given.set_model("s3://b/m.tar.gz");
  check_places(with_defaults(given), kTwo);
  given.add_server_options("allow-url=file:///pictures");
  expect_error(ErrorCode::kInvalidArgument, {"ServerOptions", "allow-url=file:///pictures"},
               [&] { check_places(with_defaults(given), kTwo); });
}

}  // namespace
}  // namespace musher
