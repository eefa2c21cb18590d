#include "monitoring/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitoring/process_usage.h"

namespace musher {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

TEST(MetricsPage, HasOneHeadForEachNameAndAllItsLabels) {
  MetricsPage page;
  page.counter("jobs_total", "Jobs", 3, {{"status", "Failed"}});
  page.gauge("slots", "Slots", 2.5);
  page.counter("jobs_total", "Jobs", 4, {{"status", "Completed"}});
  EXPECT_EQ(page.text(),
            "# HELP jobs_total Jobs\n"
            "# TYPE jobs_total counter\n"
            "jobs_total{status=\"Failed\"} 3\n"
            "jobs_total{status=\"Completed\"} 4\n"
            "# HELP slots Slots\n"
            "# TYPE slots gauge\n"
            "slots 2.5\n");
}

/// A job's name or an error's text must not break out of its quotes.
TEST(MetricsPage, EscapesWhatStandsInALabel) {
  MetricsPage page;
  page.gauge("step", "Steps", 1, {{"job", "a\"b\nc\\"}});
  EXPECT_THAT(page.text(), HasSubstr(R"(step{job="a\"b\nc\\"} 1)"));
}

TEST(MetricsPage, TellsOfTheProcess) {
  MetricsPage page;
  add_process_usage(page);
  const std::string text = page.text();
  for (const char* name : {"process_cpu_seconds_total", "process_resident_memory_bytes",
                           "process_open_fds", "process_max_fds", "process_start_time_seconds"}) {
    EXPECT_THAT(text, ContainsRegex(std::string("\n") + name + " [0-9]")) << name;
  }
  EXPECT_THAT(text, HasSubstr("\nprocess_threads 1\n"));
}

}  // namespace
}  // namespace musher
