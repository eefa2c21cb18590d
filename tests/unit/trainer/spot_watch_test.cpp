#include "trainer/spot_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/stop_request.h"

namespace musher {
namespace {

using testing::ElementsAre;

TEST(InstanceAction, IsReadAsEc2WritesIt) {
  const auto notice =
      parse_instance_action(R"({"action": "terminate", "time": "2017-09-18T08:22:00Z"})");
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->action, "terminate");
  EXPECT_EQ(notice->time, "2017-09-18T08:22:00Z");
  EXPECT_EQ(notice->time_ms, 1'505'722'920'000);
}

TEST(InstanceAction, OfAnUnreadableTimeIsANoticeAllTheSame) {
  for (const char* body : {R"({"action": "stop"})", R"({"action": "stop", "time": "soon"})",
                           R"({"action": "stop", "time": 7})"}) {
    const auto notice = parse_instance_action(body);
    ASSERT_TRUE(notice) << body;
    EXPECT_EQ(notice->action, "stop");
    EXPECT_EQ(notice->time_ms, 0);
  }
}

TEST(InstanceAction, AnythingElseIsNone) {
  for (const char* body : {"", "{", "[]", "null", "7", "<html>", R"({"action": null})",
                           R"({"time": "2017-09-18T08:22:00Z"})", "\xff\xfe"}) {
    EXPECT_FALSE(parse_instance_action(body)) << body;
    EXPECT_FALSE(parse_rebalance(body)) << body;
  }
}

TEST(Rebalance, IsReadAsEc2WritesIt) {
  EXPECT_EQ(parse_rebalance(R"({"noticeTime": "2020-10-27T08:22:00Z"})"), "2020-10-27T08:22:00Z");
}

TEST(StopRequest, WhoActsOnTheFlagHasTheReasonToldBefore) {
  StopRequest stop;
  bool raised_when_told = true;
  stop.listen([&](const Interruption&) { raised_when_told = stop.flag(); });
  stop.raise({"signal 15"});
  EXPECT_FALSE(raised_when_told);
  EXPECT_TRUE(stop.flag());
}

TEST(StopRequest, TheFirstReasonCountsButForASpotNotice) {
  StopRequest stop;
  stop.raise({"signal 15"});
  std::vector<std::string> told;
  stop.listen([&](const Interruption& why) { told.push_back(why.reason); });
  stop.raise({"signal 2"});
  stop.raise({"EC2 takes it back", true, 7});
  stop.raise({"signal 15, again"});
  stop.raise({"EC2, again", true, 8});
  EXPECT_THAT(told, ElementsAre("signal 15", "EC2 takes it back"));
}

}  // namespace
}  // namespace musher
