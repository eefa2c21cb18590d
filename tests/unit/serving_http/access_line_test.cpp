#include "serving/http/access_line.h"

#include <gtest/gtest.h>

namespace musher {
namespace {

using std::chrono::microseconds;

AccessRecord record() {
  AccessRecord made;
  made.id = "abc-123";
  made.method = "POST";
  made.target = "/invocations";
  made.peer = "127.0.0.1:51442";
  made.status = 200;
  made.bytes = 1713;
  made.duration = microseconds(14'200);
  return made;
}

TEST(AccessLine, NamesRequestAnswerAndClient) {
  EXPECT_EQ(access_line(record(), "the model"),
            "access abc-123 \"POST /invocations\" 200 1713 bytes 14.20 ms, client 127.0.0.1:51442");
}

TEST(AccessLine, TellsWhatWasBehind) {
  AccessRecord behind = record();
  behind.status = 424;
  behind.upstream_status = 400;
  behind.upstream_time = microseconds(13'710);
  EXPECT_EQ(
      access_line(behind, "the model"),
      "access abc-123 \"POST /invocations\" 424 1713 bytes 14.20 ms, the model 400 in 13.71 ms, "
      "client 127.0.0.1:51442");
}

}  // namespace
}  // namespace musher
