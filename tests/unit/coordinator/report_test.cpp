#include "coordinator/report.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/chart.h"
#include "coordinator/history.h"

namespace musher {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Axis, EndsAreRoundAndHoldAllValues) {
  struct Case {
    double low, high;
    Axis axis;
  };
  for (const Case& c :
       {Case{0, 10, {0, 10, 2}}, Case{0.13, 2.31, {0, 2.5, 0.5}}, Case{3, 3, {1, 5, 1}},
        Case{0, 0, {-1, 1, 0.5}}, Case{-7, 12, {-10, 15, 5}}, Case{1e6, 3e6, {1e6, 3e6, 5e5}}}) {
    const Axis axis = axis_for(c.low, c.high);
    EXPECT_DOUBLE_EQ(axis.low, c.axis.low) << c.low << " to " << c.high;
    EXPECT_DOUBLE_EQ(axis.high, c.axis.high) << c.low << " to " << c.high;
    EXPECT_DOUBLE_EQ(axis.step, c.axis.step) << c.low << " to " << c.high;
  }
  EXPECT_EQ(axis_for(INFINITY, -INFINITY).high, 1) << "no values at all";
}

TEST(LineChart, AValueThatIsNotFiniteIsAGap) {
  const std::string svg =
      line_chart("loss", "step", {{"a", {{0, 1}, {1, NAN}, {2, 3}, {3, INFINITY}, {4, 5}}}}, {});
  EXPECT_THAT(svg, HasSubstr("data-x=\"0 4\" data-y=\"1 5\""));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(LineChart, OfMorePointsThanPixelsTheExtremesStay) {
  Series series{"a", {}};
  for (int i = 0; i < 200'000; ++i) series.points.emplace_back(i, i == 77'777 ? 1000 : i % 3);
  const std::string svg = line_chart("many", "step", {series}, {});
  EXPECT_LT(svg.size(), 60'000U);
  EXPECT_THAT(svg, HasSubstr("data-y=\"0 1000\""));
  EXPECT_THAT(svg, HasSubstr(" 48.00")) << "the peak, at the top of the plot";
}

v1::Metric metric(const std::string& name, double value, std::uint64_t step, std::uint64_t epoch) {
  v1::Metric result;
  result.set_name(name);
  result.set_value(value);
  result.set_step(step);
  result.set_epoch(epoch);
  return result;
}

ReportContents contents() {
  ReportContents made;
  made.job.set_training_job_name("dogs");
  made.job.set_training_job_status(v1::TrainingJobStatus::Completed);
  (*made.job.mutable_hyper_parameters())["model"] = "resnet18";
  (*made.job.mutable_environment())["API_KEY"] = "hush-hush";
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    const double loss = 1.0 / static_cast<double>(epoch + 1);
    made.metrics.push_back(metric("train:loss", loss, 10 * (epoch + 1), epoch));
    made.metrics.push_back(metric("validation:loss", loss * 2, 10 * (epoch + 1), epoch));
  }
  return made;
}

TEST(Report, WhatUsersAndRanksWroteIsText) {
  ReportContents made = contents();
  const std::string attack = "<script>alert('&\"')</script>";
  const std::string harmless = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;";
  (*made.job.mutable_hyper_parameters())[attack] = attack;
  made.job.set_failure_reason(attack);
  made.job.add_secondary_status_transitions()->set_status_message(attack);
  made.job.add_input_data_config()->set_channel_name(attack);
  made.history.push_back({WallTime(), attack});
  made.metrics.push_back(metric(attack, 1, 1, 0));
  made.generation = Generation{1, 1, {{0, attack, 1}}, {0}};
  made.machine.processor = attack;
  const std::string html = report_html(made);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  std::size_t times = 0;
  for (std::size_t at = 0; (at = html.find(harmless, at)) != html.npos; ++at) ++times;
  EXPECT_GE(times, 9U);
}

TEST(Report, NothingIsFetchedAndNoSecretIsShown) {
  const std::string html = report_html(contents());
  for (const char* word : {"src=", "href=", "url(", "@import", "<script", "http:", "https:"}) {
    EXPECT_THAT(html, Not(HasSubstr(word)));
  }
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
  EXPECT_THAT(html, HasSubstr("API_KEY"));
  EXPECT_THAT(html, Not(HasSubstr("hush")));
  EXPECT_THAT(html, HasSubstr("resnet18"));
}

TEST(Report, TrainAndValidationShareAChart) {
  const std::string html = report_html(contents());
  EXPECT_THAT(html, HasSubstr("aria-label=\"loss\" data-x=\"10 30\" data-y=\"0 2\""));
  EXPECT_THAT(html, HasSubstr("Not measured"));
}

TEST(Report, WhatTheTimesOfAStepLeaveIsOther) {
  ReportContents made = contents();
  made.metrics.push_back(metric("train:step_seconds", 0.1, 10, 0));
  made.metrics.push_back(metric("train:forward_seconds", 0.03, 10, 0));
  made.metrics.push_back(metric("train:backward_seconds", 0.05, 10, 0));
  const std::string html = report_html(made);
  EXPECT_THAT(html, HasSubstr("<title>forward: 30 ms</title>"));
  EXPECT_THAT(html, HasSubstr("<title>other: 20 ms</title>"));
  EXPECT_THAT(html, HasSubstr("data-x=\"0 100\""));
  EXPECT_THAT(html, Not(HasSubstr("aria-label=\"step_seconds\"")));
}

TEST(Report, RecoveriesAreListedAndMarked) {
  v1::Recovery recovery;
  recovery.set_step(20);
  recovery.set_seconds(0.2);
  ReportContents made = contents();
  for (const bool lost : {true, false}) {
    const std::string line = recovery_line({"rank 1 on host a died", lost}, 3, recovery);
    EXPECT_EQ(recovery_step(line), 20U) << line;
    made.history.push_back({WallTime(), line});
  }
  EXPECT_FALSE(recovery_step("resumed at step 20"));
  const std::string html = report_html(made);
  EXPECT_THAT(html, HasSubstr("stroke-dasharray"));
  EXPECT_THAT(html, Not(HasSubstr("None: no rank was lost")));
  EXPECT_THAT(report_html(contents()), HasSubstr("None: no rank was lost"));
}

}  // namespace
}  // namespace musher
