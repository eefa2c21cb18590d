#include "coordinator/endpoints/settings.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

v1::EndpointSettings given() {
  v1::EndpointSettings settings;
  settings.set_model("s3://bucket/model.tar.gz");
  return settings;
}

TEST(EndpointSettings, DefaultsAreThoseOfSageMaker) {
  const auto settings = with_defaults(given());
  check("dogs", settings);
  const ScalingPolicy policy = policy_of(settings);
  EXPECT_EQ(policy.min_capacity, 1);
  EXPECT_EQ(policy.max_capacity, 4);
  EXPECT_EQ(policy.target, 70);
  EXPECT_EQ(policy.period, std::chrono::minutes(1));
  EXPECT_EQ(policy.out_cooldown, std::chrono::minutes(5));
  EXPECT_EQ(settings.startup_seconds(), 240);
}

TEST(EndpointSettings, AnUpdateChangesWhatItNames) {
  auto old = given();
  old.add_server_options("threads=1");
  old.set_target(9);
  v1::EndpointSettings change;
  change.set_max_capacity(8);
  const auto first = updated(with_defaults(old), change);
  EXPECT_EQ(first.max_capacity(), 8);
  EXPECT_EQ(first.target(), 9);
  EXPECT_EQ(first.server_options_size(), 1);
  EXPECT_TRUE(same_instances(with_defaults(old), first));
  change.add_server_options("max-queued=3");
  const auto second = updated(first, change);
  ASSERT_EQ(second.server_options_size(), 1);
  EXPECT_EQ(second.server_options(0), "max-queued=3");
  EXPECT_FALSE(same_instances(first, second));
}

TEST(EndpointSettings, WhatIsWrongIsNamed) {
  const auto refused = [](std::initializer_list<std::string> parts, auto change,
                          const std::string& name = "dogs") {
    auto settings = with_defaults(given());
    change(settings);
    expect_error(ErrorCode::kInvalidArgument, parts, [&] { check(name, settings); });
  };
  refused({"ModelDataUrl"}, [](auto& s) { s.clear_model(); });
  refused(
      {"../x"}, [](auto&) {}, "../x");
  refused(
      {"EndpointName"}, [](auto&) {}, "");
  refused({"MinCapacity", "0"}, [](auto& s) { s.set_min_capacity(0); });
  refused({"MaxCapacity", "5"}, [](auto& s) { s.set_min_capacity(5); });
  refused({"TargetValue"}, [](auto& s) { s.set_target(0); });
  refused({"PeriodInSeconds"}, [](auto& s) { s.set_period_seconds(0.5); });
  refused({"ScaleInPeriods"}, [](auto& s) { s.set_in_periods(0); });
  refused({"ServerOptions", "port"}, [](auto& s) { s.add_server_options("port=80"); });
  refused({"KEY=VALUE"}, [](auto& s) { s.add_server_options("threads"); });
  refused({"Keys"}, [](auto& s) { s.set_keys("keys"); });
}

}  // namespace
}  // namespace musher
