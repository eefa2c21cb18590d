#include "serving/scaling/target_tracking.h"

#include <deque>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using std::chrono::minutes;
using testing::HasSubstr;

constexpr ScalingTime kStart{};

/// Traffic in invocations of a minute, and the capacity at the end of each minute that should come
/// of it. A trace begins with all that is needed to begin with: `capacity`.
struct Trace {
  const char* name;
  int capacity = 1;
  std::vector<double> traffic;  ///< negative: no data
  std::vector<int> expected;
  ScalingPolicy policy = {};
};

struct Outcome {
  std::vector<int> capacity;
  std::vector<ScalingDecision> decisions;
};

Outcome run(const Trace& trace) {
  Outcome result;
  ScalingState state;
  state.capacity = trace.capacity;
  std::vector<std::optional<Datapoint>> recent;
  for (std::size_t minute = 0; minute < trace.traffic.size(); ++minute) {
    const double total = trace.traffic[minute];
    if (total < 0) {
      recent.emplace_back();
    } else {
      recent.push_back(Datapoint{total / state.capacity, total});
    }
    const ScalingTime now = kStart + minutes(minute + 1);
    result.decisions.push_back(decide_capacity(trace.policy, state, now, recent));
    EXPECT_EQ(result.decisions.back().capacity, state.capacity);
    result.capacity.push_back(state.capacity);
  }
  return result;
}

std::vector<double> minutes_of(double traffic, int count) {
  return std::vector<double>(static_cast<std::size_t>(count), traffic);
}

template <typename T>
std::vector<T> joined(std::initializer_list<std::vector<T>> parts) {
  std::vector<T> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<int> capacity_of(int capacity, int count) {
  return std::vector<int>(static_cast<std::size_t>(count), capacity);
}

std::vector<Trace> traces() {
  ScalingPolicy no_in;
  no_in.disable_scale_in = true;
  ScalingPolicy wide;
  wide.max_capacity = 100;
  return {
      {"the target itself is no reason", 1, minutes_of(70, 20), capacity_of(1, 20)},
      {"three minutes above it are", 1, minutes_of(140, 5), {1, 1, 2, 2, 2}},
      {"two are not", 1, {140, 140, 60, 140, 140}, {1, 1, 1, 1, 1}},
      {"out goes as far as it must at once", 1, minutes_of(1000, 4), {1, 1, 15, 15}, wide},
      {"but not above the maximum", 1, minutes_of(1000, 4), {1, 1, 4, 4}},
      {"more while the cooldown lasts, where more comes",
       1,
       {140, 140, 140, 300, 300, 300, 300},
       {1, 1, 2, 4, 4, 4, 4}},
      {"in takes fifteen minutes below nine tenths", 4, minutes_of(70, 16),
       joined<int>({capacity_of(4, 14), {1, 1}})},
      {"between nine tenths and the target nothing happens", 2, minutes_of(130, 30),
       capacity_of(2, 30)},
      {"in keeps what the busiest minute of the window needs", 4,
       joined<double>({{200}, minutes_of(10, 14), minutes_of(10, 1)}),
       joined<int>({capacity_of(4, 14), {3}, {3}})},
      {"one busy minute begins the window anew", 2,
       joined<double>({minutes_of(10, 14), {140}, minutes_of(10, 14), {10}}),
       joined<int>({capacity_of(2, 29), {1}})},
      {"in waits for its cooldown", 4, joined<double>({{200}, minutes_of(130, 20)}),
       // at 15 the 200 of the first minute asks for 3; then 130 asks for 2, 300 s later
       joined<int>({capacity_of(4, 14), capacity_of(3, 5), capacity_of(2, 2)})},
      {"out does not wait for the cooldown of in", 4,
       joined<double>({minutes_of(10, 15), minutes_of(280, 3)}),
       joined<int>({capacity_of(4, 14), {1, 1, 1, 4}})},
      {"no data, no scaling", 1, {140, -1, 140, 140, -1, 140, 140, 140}, {1, 1, 1, 1, 1, 1, 1, 2}},
      {"nor in", 2, joined<double>({minutes_of(0, 14), {-1}, minutes_of(0, 14)}),
       capacity_of(2, 29)},
      {"silence is zero, and in goes to the minimum", 3, minutes_of(0, 15),
       joined<int>({capacity_of(3, 14), {1}})},
      {"in can be turned off", 3, minutes_of(0, 30), capacity_of(3, 30), no_in},
      {"what is outside of the bounds comes in at once", 9, {0}, {4}},
  };
}

TEST(TargetTracking, FollowsTheTraces) {
  for (const Trace& trace : traces()) {
    SCOPED_TRACE(trace.name);
    EXPECT_EQ(run(trace).capacity, trace.expected);
  }
}

TEST(TargetTracking, SaysWhatItDidAndWhy) {
  const Outcome out = run({"", 1, minutes_of(150, 3), {}});
  EXPECT_EQ(out.decisions[1].cause, "");
  EXPECT_EQ(out.decisions[2].description, "Setting desired instance count to 3.");
  EXPECT_THAT(out.decisions[2].cause, HasSubstr("AlarmHigh: InvocationsPerInstance > 70 for 3"));
  const Outcome in = run({"", 2, minutes_of(10, 15), {}});
  EXPECT_THAT(in.decisions[14].cause, HasSubstr("AlarmLow: InvocationsPerInstance < 63 for 15"));
  EXPECT_EQ(in.decisions[14].description, "Setting desired instance count to 1.");
}

TEST(TargetTracking, SaysWhyItDidNot) {
  EXPECT_EQ(run({"", 4, minutes_of(500, 3), {}}).decisions[2].not_scaled, "AlreadyAtMaxCapacity");
  EXPECT_EQ(run({"", 1, minutes_of(0, 15), {}}).decisions[14].not_scaled, "AlreadyAtMinCapacity");
  // 185 over 3 is below 63, but two instances would have 92 each.
  EXPECT_EQ(run({"", 3, minutes_of(185, 15), {}}).decisions[14].not_scaled,
            "AutoScalingAnticipatedFlapping");
  EXPECT_EQ(run({"", 4, joined<double>({{200}, minutes_of(130, 15)}), {}}).decisions[15].not_scaled,
            "Cooldown");
}

/// Any traffic that stays as it is ends in a capacity that stays as it is.
TEST(TargetTracking, DoesNotFlap) {
  for (int capacity = 1; capacity <= 4; ++capacity) {
    for (double traffic = 0; traffic <= 400; traffic += 1) {
      const Outcome result = run({"", capacity, minutes_of(traffic, 120), {}});
      int changes = 0;
      for (const auto& decision : result.decisions) changes += decision.description.empty() ? 0 : 1;
      EXPECT_LE(changes, 1) << capacity << " instances, " << traffic << " a minute";
    }
  }
}

TEST(ScalingPolicy, ImpossibleOnesAreNamed) {
  const auto refused = [](const char* part, auto change) {
    ScalingPolicy policy;
    change(policy);
    test::expect_error(ErrorCode::kInvalidArgument, {part}, [&] { check(policy); });
  };
  refused("min", [](ScalingPolicy& p) { p.min_capacity = 0; });
  refused("max", [](ScalingPolicy& p) { p.max_capacity = 0; });
  refused("target", [](ScalingPolicy& p) { p.target = 0; });
  refused("period", [](ScalingPolicy& p) { p.period = {}; });
  refused("in_periods", [](ScalingPolicy& p) { p.in_periods = 0; });
  refused("in_factor", [](ScalingPolicy& p) { p.in_factor = 1; });
  refused("cooldown", [](ScalingPolicy& p) { p.in_cooldown = std::chrono::seconds(-1); });
  check(ScalingPolicy{});
}

}  // namespace
}  // namespace musher
