#include "coordinator/log_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {

void PrintTo(const LogMetric& metric, std::ostream* out) {
  *out << metric.name << " " << metric.value;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

auto is(const std::string& name, double value) {
  return testing::AllOf(testing::Field(&LogMetric::name, name),
                        testing::Field(&LogMetric::value, value));
}

TEST(LogMetrics, TheFirstGroupOfTheFirstMatchOfEachDefinition) {
  const LogMetrics metrics({{"loss", R"(loss: ([0-9.e+-]+))"}, {"acc", R"(acc=(\S+))"}});
  EXPECT_THAT(metrics.find("epoch 1 loss: 1.5e-3, loss: 7, acc=+0.25"),
              ElementsAre(is("loss", 1.5e-3), is("acc", 0.25)));
  EXPECT_THAT(metrics.find("Testing acc=-1"), ElementsAre(is("acc", -1)));
  EXPECT_THAT(metrics.find("nothing"), IsEmpty());
}

TEST(LogMetrics, AGroupThatHoldsNoNumberSaysNothing) {
  const LogMetrics metrics(std::vector<MetricDefinition>{{"x", "x=(.*)"}});
  for (const char* line : {"x=", "x=abc", "x=1 2", "x=nan", "x=inf", "x=1e999", "x=0x10"}) {
    EXPECT_THAT(metrics.find(line), IsEmpty()) << line;
  }
  EXPECT_THAT(metrics.find("x= 12 "), ElementsAre(is("x", 12)));
}

TEST(LogMetrics, AnEvilExpressionOnALongLineTakesNoTime) {
  const LogMetrics metrics({{"x", "(a*)*b([0-9])"}, {"y", "end ([0-9])"}});
  const std::string line = std::string(1 << 20, 'a') + " end 7";
  EXPECT_THAT(metrics.find(line), IsEmpty());  // backtracking would take longer than anyone has
}

}  // namespace
}  // namespace musher
