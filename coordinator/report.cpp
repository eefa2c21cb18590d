#include "coordinator/report.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <thread>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <sys/utsname.h>

#include "coordinator/chart.h"
#include "coordinator/history.h"
#include "job/request.h"

namespace musher {
namespace {

using google::protobuf::util::TimeUtil;

/// The parts of a step, as the trainer's metrics name them; what they leave of the whole is
/// `other`.
struct StepPart {
  const char* metric;
  const char* name;
};
constexpr const char* kStepSeconds = "train:step_seconds";
constexpr std::array kStepParts = {StepPart{"train:data_seconds", "waiting for data"},
                                   StepPart{"train:forward_seconds", "forward"},
                                   StepPart{"train:backward_seconds", "backward"},
                                   StepPart{"train:reduce_seconds", "all-reduce"},
                                   StepPart{"train:optimizer_seconds", "optimizer"}};
constexpr std::size_t kMostBars = 24;  // epochs that are shown of more

/// No script may run and nothing may be fetched, whatever is in the page.
constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
)";
constexpr const char* kStyle = R"(<style>
body{font:15px/1.45 system-ui,sans-serif;color:#1b2430;background:#fff;max-width:1420px;margin:24px auto;padding:0 20px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:28px 0 8px;border-bottom:1px solid #d5dbe3}
.Completed{color:#00693e}.Failed{color:#b00020}.Stopped{color:#8a5a00}
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:2px 18px 2px 0;overflow-wrap:anywhere}
th{font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1b2430}svg text.title{font-size:15px;font-weight:600}
.charts{display:flex;flex-wrap:wrap;gap:12px}
</style>
)";

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string table(const Rows& rows) {
  std::string html = "<table>\n";
  for (const auto& [name, value] : rows) {
    if (value.empty()) continue;
    html +=
        fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", html_escaped(name), html_escaped(value));
  }
  return html + "</table>\n";
}

std::string time_text(WallTime time) {
  return TimeUtil::ToString(
      TimeUtil::MillisecondsToTimestamp(time.time_since_epoch().count() / 1000 * 1000));
}

std::string time_text(const google::protobuf::Timestamp& time) {
  return TimeUtil::ToString(TimeUtil::SecondsToTimestamp(time.seconds()));
}

/// `train:loss` and `validation:loss` share a chart, `loss`; any other name has one of its own.
std::string chart_of(const std::string& metric) {
  for (const std::string prefix : {"train:", "validation:"}) {
    if (metric.starts_with(prefix)) return metric.substr(prefix.size());
  }
  return metric;
}

bool is_step_time(const std::string& metric) {
  return metric == kStepSeconds ||
         std::any_of(kStepParts.begin(), kStepParts.end(),
                     [&](const StepPart& part) { return metric == part.metric; });
}

/// Those whose names people look for come first.
int order_of(const std::string& chart) {
  if (chart == "loss") return 0;
  if (chart == "accuracy") return 1;
  return chart == "samples_per_second" ? 2 : 3;
}

std::string curves(const ReportContents& contents) {
  std::map<std::pair<int, std::string>, std::map<std::string, Series>> charts;
  for (const v1::Metric& metric : contents.metrics) {
    if (is_step_time(metric.name())) continue;
    const std::string chart = chart_of(metric.name());
    Series& series = charts[{order_of(chart), chart}][metric.name()];
    series.name = metric.name();
    series.points.emplace_back(static_cast<double>(metric.step()), metric.value());
  }
  std::vector<double> recoveries;
  for (const Notice& notice : contents.history) {
    if (const auto step = recovery_step(notice.text)) {
      recoveries.push_back(static_cast<double>(*step));
    }
  }
  std::string html;
  for (auto& [key, lines] : charts) {
    std::vector<Series> series;
    for (auto& [name, line] : lines) {
      // An attempt that ran steps again told them later.
      std::stable_sort(line.points.begin(), line.points.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      series.push_back(std::move(line));
    }
    html += line_chart(key.second, "step", series, recoveries);
  }
  if (html.empty()) return "<p>No metrics.</p>\n";
  return fmt::format("<div class=\"charts\">\n{}</div>\n{}", html,
                     recoveries.empty() ? "" : "<p>Dashed: ranks were lost or came.</p>\n");
}

std::string step_times(const std::vector<v1::Metric>& metrics) {
  std::map<std::uint64_t, std::map<std::string, double>> epochs;
  for (const v1::Metric& metric : metrics) {
    if (is_step_time(metric.name())) epochs[metric.epoch()][metric.name()] = metric.value();
  }
  std::vector<std::string> parts;
  for (const StepPart& part : kStepParts) parts.emplace_back(part.name);
  parts.emplace_back("other");
  std::vector<BarRow> rows;
  for (const auto& [epoch, values] : epochs) {
    const auto whole = values.find(kStepSeconds);
    if (whole == values.end()) continue;
    BarRow row{fmt::format("epoch {}", epoch + 1), {}};
    double rest = whole->second;
    for (const StepPart& part : kStepParts) {
      const auto value = values.find(part.metric);
      row.parts.push_back(value == values.end() ? 0 : std::max(0.0, value->second * 1000));
      rest -= row.parts.back() / 1000;
    }
    row.parts.push_back(std::max(0.0, rest * 1000));
    rows.push_back(std::move(row));
  }
  if (rows.empty()) return "<p>Not measured.</p>\n";
  std::string note =
      "<p>Mean of each epoch's steps, on the rank that leads. All-reduce is what backward did not "
      "hide.</p>\n";
  if (rows.size() > kMostBars) {
    std::vector<BarRow> some;
    for (std::size_t i = 0; i < kMostBars; ++i) {
      some.push_back(rows[i * (rows.size() - 1) / (kMostBars - 1)]);
    }
    note += fmt::format("<p>{} of {} epochs.</p>\n", kMostBars, rows.size());
    rows = std::move(some);
  }
  return stacked_bars("time of a step", "ms", parts, rows) + note;
}

std::string recoveries(const std::vector<Notice>& history) {
  Rows rows;
  for (const Notice& notice : history) {
    if (recovery_step(notice.text)) rows.emplace_back(time_text(notice.time), notice.text);
  }
  return rows.empty() ? "<p>None: no rank was lost, none came.</p>\n" : table(rows);
}

std::string transitions(const v1::DescribeTrainingJobResponse& job) {
  std::string html = "<table>\n<tr><th>status</th><th>from</th><th>s</th><th></th></tr>\n";
  for (const auto& line : job.secondary_status_transitions()) {
    const std::string seconds =
        line.has_end_time()
            ? fmt::format("{:.1f}", static_cast<double>(TimeUtil::DurationToMilliseconds(
                                        line.end_time() - line.start_time())) /
                                        1000)
            : "";
    html += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
                        v1::SecondaryStatus::Value_Name(line.status()),
                        time_text(line.start_time()), seconds, html_escaped(line.status_message()));
  }
  return html + "</table>\n";
}

std::string summary(const ReportContents& contents) {
  const auto& job = contents.job;
  Rows rows = {{"failure", job.failure_reason()},
               {"artifact", job.model_artifacts().s3_model_artifacts()},
               {"created", time_text(job.creation_time())},
               {"training time", fmt::format("{} s", job.training_time_in_seconds())},
               {"attempts", std::to_string(contents.attempts)}};
  for (const auto& metric : job.final_metric_data_list()) {
    rows.emplace_back(metric.metric_name(), fmt::format("{:.6g}", metric.value()));
  }
  return table(rows);
}

std::string job_table(const v1::DescribeTrainingJobResponse& job) {
  Rows rows = {{"algorithm", job.algorithm_specification().algorithm_name()}};
  const std::map<std::string, std::string> hyper(job.hyper_parameters().begin(),
                                                 job.hyper_parameters().end());
  rows.insert(rows.end(), hyper.begin(), hyper.end());
  for (const auto& channel : job.input_data_config()) {
    rows.emplace_back("channel " + channel.channel_name(),
                      channel.data_source().s3_data_source().s3_uri());
  }
  rows.emplace_back("output", job.output_data_config().s3_output_path());
  rows.emplace_back("checkpoints", job.checkpoint_config().s3_uri());
  return table(rows);
}

std::string environment_table(const ReportContents& contents) {
  Rows rows;
  if (contents.generation) {
    std::map<std::string, std::string> ranks;
    for (const Member& member : contents.generation->members) {
      std::string& on_host = ranks[member.host];
      on_host += (on_host.empty() ? "rank " : ", ") + std::to_string(member.rank);
    }
    for (const auto& [host, text] : ranks) rows.emplace_back("host " + host, text);
    rows.emplace_back("virtual workers",
                      std::to_string(contents.generation->virtual_worker_rank.size()));
  }
  rows.emplace_back("coordinator's system", contents.machine.system);
  rows.emplace_back("processor", contents.machine.processor);
  rows.emplace_back("cores", std::to_string(contents.machine.cores));
  rows.emplace_back("mpirun", contents.machine.mpi);
  std::map<std::string, std::string> names;
  for (const auto& [name, value] : contents.job.environment()) names[name] = "set";
  for (const auto& [name, set] : names) rows.emplace_back(name, set);
  return table(rows);
}

std::string history_table(const std::vector<Notice>& history) {
  Rows rows;
  for (const Notice& notice : history) rows.emplace_back(time_text(notice.time), notice.text);
  return table(rows);
}

}  // namespace

MachineInfo machine_info() {
  MachineInfo machine;
  utsname names{};
  if (::uname(&names) == 0) {
    machine.system = fmt::format("{} {} {}", names.sysname, names.release, names.machine);
  }
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("model name")) continue;
    machine.processor = line.substr(std::min(line.size(), line.find(':') + 2));
    break;
  }
  machine.cores = static_cast<int>(std::thread::hardware_concurrency());
  return machine;
}

std::string report_html(const ReportContents& contents) {
  const std::string name = html_escaped(contents.job.training_job_name());
  const std::string& status = v1::TrainingJobStatus::Value_Name(contents.job.training_job_status());
  std::string html = kHead;
  html += fmt::format("<title>{}</title>\n{}</head><body>\n", name, kStyle);
  html += fmt::format("<h1>{0}</h1>\n<p class=\"{1}\"><b>{1}</b></p>\n", name, status);
  const auto section = [&](const char* title, const std::string& body) {
    html += fmt::format("<h2>{}</h2>\n{}", title, body);
  };
  html += summary(contents);
  section("Curves", curves(contents));
  section("Where the time of a step went", step_times(contents.metrics));
  section("Recoveries", recoveries(contents.history));
  section("Life of the job", transitions(contents.job));
  section("The job", job_table(contents.job));
  section("Environment", environment_table(contents));
  section("History", history_table(contents.history));
  return html +
         fmt::format("<p>Made by Musher at {}.</p>\n</body></html>\n", time_text(contents.made));
}

}  // namespace musher
