#include "coordinator/endpoints/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/endpoints/settings.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;
using Kind = InstanceStep::Kind;
using State = v1::EndpointStatus;
using test::expect_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::EndpointSettings settings(const std::string& model) {
  v1::EndpointSettings given;
  given.set_model(model);
  return with_defaults(given);
}

/// An endpoint and what a test makes its instances do. Times are in milliseconds.
class Fleet {
 public:
  explicit Fleet(int desired) {
    record.set_name("dogs");
    record.set_status(State::Creating);
    record.set_revision(1);
    record.set_last_revision(1);
    record.set_desired(desired);
    *record.mutable_settings() = settings("file:///a");
  }

  EndpointPlan step(std::int64_t milliseconds = 100) {
    now += milliseconds;
    return advance(record, sights, now);
  }
  /// Everything that starts answers /ping from now on.
  EndpointPlan all_ready() {
    for (const Instance& instance : record.instances()) sights[instance.number()].ready = true;
    return step();
  }
  void end(int number, const std::string& words = "") {
    sights[number] = {.alive = false, .end = words};
  }
  std::vector<std::string> instances() const {
    std::vector<std::string> texts;
    for (const Instance& instance : record.instances())
      texts.push_back(std::to_string(instance.number()) + " " +
                      Instance::State_Name(instance.state()));
    return texts;
  }

  v1::EndpointRecord record;
  Sights sights;
  std::int64_t now = 1'000'000;
};

Fleet in_service(int desired) {
  Fleet fleet(desired);
  fleet.step();
  fleet.all_ready();
  return fleet;
}

TEST(EndpointPlan, IsInServiceWhenAllAnswer) {
  Fleet fleet(2);
  const EndpointPlan first = fleet.step();
  EXPECT_TRUE(first.changed);
  EXPECT_THAT(first.steps,
              ElementsAre(InstanceStep{Kind::kStart, 1}, InstanceStep{Kind::kStart, 2}));
  EXPECT_THAT(fleet.step().steps, IsEmpty()) << "what starts is not started twice";
  fleet.sights[2].ready = true;
  fleet.step();
  EXPECT_THAT(fleet.instances(), ElementsAre("1 Starting", "2 InService"));
  EXPECT_EQ(fleet.record.status(), State::Creating);
  fleet.all_ready();
  EXPECT_THAT(fleet.instances(), ElementsAre("1 InService", "2 InService"));
  EXPECT_EQ(fleet.record.status(), State::InService);
  EXPECT_FALSE(fleet.step().changed);
}

TEST(EndpointPlan, OneThatDiesIsReplaced) {
  Fleet fleet = in_service(2);
  fleet.end(1, "killed");
  const EndpointPlan plan = fleet.step();
  EXPECT_THAT(plan.steps, ElementsAre(InstanceStep{Kind::kStart, 3}));
  ASSERT_EQ(plan.activities.size(), 1U);
  EXPECT_THAT(plan.activities[0].cause(), HasSubstr("i-1 ended: killed"));
  EXPECT_THAT(fleet.instances(), ElementsAre("2 InService", "3 Starting"));
}

TEST(EndpointPlan, OneThatNoLongerAnswersIsKilledAndReplaced) {
  Fleet fleet = in_service(1);
  fleet.sights[1].unhealthy = true;
  EXPECT_THAT(fleet.step().steps,
              ElementsAre(InstanceStep{Kind::kKill, 1}, InstanceStep{Kind::kStart, 2}));
  EXPECT_THAT(fleet.instances(), ElementsAre("1 Stopping", "2 Starting"));
}

TEST(EndpointPlan, ACreationFailsAfterAFewTriesWithTheirReason) {
  Fleet fleet(1);
  fleet.step();
  for (int number = 1; number <= 3; ++number) {
    ASSERT_THAT(fleet.instances(), ElementsAre(std::to_string(number) + " Starting"));
    fleet.end(number, "no such object");
    EXPECT_THAT(fleet.step().steps, IsEmpty()) << "not again at once";
    fleet.step(4'000);
  }
  EXPECT_EQ(fleet.record.status(), State::Failed);
  EXPECT_THAT(fleet.record.failure_reason(), HasSubstr("no such object"));
  EXPECT_THAT(fleet.instances(), IsEmpty());
}

TEST(EndpointPlan, AnEndpointThatServedTriesForEver) {
  Fleet fleet = in_service(1);
  fleet.end(1);
  for (int number = 2; number < 20; ++number) {
    fleet.step(40'000);
    ASSERT_THAT(fleet.instances(), ElementsAre(std::to_string(number) + " Starting"));
    fleet.end(number, "no such object");
    fleet.step();
  }
  EXPECT_EQ(fleet.record.status(), State::InService);
  EXPECT_THAT(fleet.record.trouble(), HasSubstr("no such object"));
  fleet.step(40'000);
  fleet.all_ready();
  EXPECT_EQ(fleet.record.trouble(), "");
}

TEST(EndpointPlan, OneThatIsSlowToStartIsKilled) {
  Fleet fleet(1);
  fleet.step();
  EXPECT_THAT(fleet.step(239'000).steps, IsEmpty());
  EXPECT_THAT(fleet.step(2'000).steps, ElementsAre(InstanceStep{Kind::kKill, 1}));
  EXPECT_THAT(fleet.record.trouble(), HasSubstr("/ping with 200 within 240 s"));
}

TEST(EndpointPlan, FewerInstancesAreDrainedBeforeTheyEnd) {
  Fleet fleet = in_service(3);
  fleet.record.set_desired(1);
  EXPECT_THAT(fleet.step().steps, IsEmpty());
  EXPECT_THAT(fleet.instances(), ElementsAre("1 InService", "2 Draining", "3 Draining"));
  fleet.sights[2].drained = true;
  EXPECT_THAT(fleet.step().steps, ElementsAre(InstanceStep{Kind::kTerminate, 2}));
  EXPECT_THAT(fleet.step(60'000).steps,
              ElementsAre(InstanceStep{Kind::kKill, 2}, InstanceStep{Kind::kTerminate, 3}));
  fleet.end(2);
  fleet.end(3);
  EXPECT_THAT(fleet.step().activities, IsEmpty());
  EXPECT_THAT(fleet.instances(), ElementsAre("1 InService"));
}

TEST(EndpointPlan, OfTooManyTheOneThatStillStartsGoesFirst) {
  Fleet fleet = in_service(1);
  fleet.record.set_desired(2);
  fleet.step();
  fleet.record.set_desired(1);
  EXPECT_THAT(fleet.step().steps, ElementsAre(InstanceStep{Kind::kKill, 2}));
}

TEST(EndpointPlan, AnUpdateTakesOverWhenAllOfItAnswers) {
  Fleet fleet = in_service(2);
  begin_update(fleet.record, settings("file:///b"), fleet.now);
  EXPECT_EQ(fleet.record.status(), State::Updating);
  EXPECT_THAT(fleet.step().steps,
              ElementsAre(InstanceStep{Kind::kStart, 3}, InstanceStep{Kind::kStart, 4}));
  fleet.sights[3].ready = true;
  fleet.step();
  EXPECT_THAT(fleet.instances(),
              ElementsAre("1 InService", "2 InService", "3 Ready", "4 Starting"));
  fleet.all_ready();
  EXPECT_THAT(fleet.instances(),
              ElementsAre("1 Draining", "2 Draining", "3 InService", "4 InService"));
  EXPECT_EQ(fleet.record.status(), State::InService);
  EXPECT_EQ(fleet.record.settings().model(), "file:///b");
  EXPECT_EQ(fleet.record.revision(), 2);
}

TEST(EndpointPlan, AnUpdateThatDoesNotAnswerIsTakenBack) {
  Fleet fleet = in_service(2);
  begin_update(fleet.record, settings("file:///b"), fleet.now);
  fleet.step();
  fleet.sights[3].ready = true;
  fleet.step();
  fleet.end(4, "damaged");
  const EndpointPlan plan = fleet.step();
  EXPECT_THAT(plan.steps, ElementsAre(InstanceStep{Kind::kKill, 3}));
  ASSERT_EQ(plan.activities.size(), 1U);
  EXPECT_EQ(plan.activities[0].status_code(), "Failed");
  EXPECT_THAT(fleet.instances(), ElementsAre("1 InService", "2 InService", "3 Stopping"));
  EXPECT_EQ(fleet.record.status(), State::InService);
  EXPECT_EQ(fleet.record.settings().model(), "file:///a");
  EXPECT_THAT(fleet.record.failure_reason(), HasSubstr("damaged"));
  fleet.end(3);
  EXPECT_THAT(fleet.step().steps, IsEmpty());

  begin_update(fleet.record, settings("file:///c"), fleet.now);
  EXPECT_EQ(fleet.record.failure_reason(), "");
  EXPECT_EQ(next_revision(fleet.record), 3) << "a revision's number is not given twice";
}

TEST(EndpointPlan, OldInstancesThatDieDuringAnUpdateAreReplacedByTheirLike) {
  Fleet fleet = in_service(1);
  begin_update(fleet.record, settings("file:///b"), fleet.now);
  fleet.step();
  fleet.end(1);
  fleet.step();
  ASSERT_EQ(fleet.record.instances_size(), 2);
  EXPECT_EQ(fleet.record.instances(0).revision(), 2);
  EXPECT_EQ(fleet.record.instances(1).revision(), 1);
}

TEST(EndpointPlan, OtherLimitsNeedNoOtherInstances) {
  Fleet fleet = in_service(2);
  v1::EndpointSettings limits = fleet.record.settings();
  limits.set_min_capacity(3);
  begin_update(fleet.record, limits, fleet.now);
  EXPECT_EQ(fleet.record.status(), State::InService);
  EXPECT_THAT(fleet.step().steps, ElementsAre(InstanceStep{Kind::kStart, 3}));
}

TEST(EndpointPlan, AnUpdateWaitsForTheOneBefore) {
  Fleet fleet = in_service(1);
  begin_update(fleet.record, settings("file:///b"), fleet.now);
  expect_error(ErrorCode::kFailedPrecondition, {"dogs is Updating"},
               [&] { begin_update(fleet.record, settings("file:///c"), fleet.now); });
}

TEST(EndpointPlan, ADeletionEndsAll) {
  Fleet fleet = in_service(2);
  begin_update(fleet.record, settings("file:///b"), fleet.now);
  fleet.step();
  begin_delete(fleet.record, fleet.now);
  EXPECT_EQ(fleet.step().steps.size(), 4U);
  for (int number = 1; number <= 4; ++number) fleet.end(number);
  EXPECT_THAT(fleet.step().steps, IsEmpty());
  EXPECT_THAT(fleet.instances(), IsEmpty());
}

}  // namespace
}  // namespace musher
