#pragma once

#include <string>
#include <vector>

#include <prometheus/metric_family.h>

namespace musher {

/// The content type of MetricsPage::text().
inline constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

/// One answer to `GET /metrics`: values as they are now, in Prometheus' text form 0.0.4. A value;
/// one thread at a time.
/// https://prometheus.io/docs/instrumenting/exposition_formats/
class MetricsPage {
 public:
  using Label = prometheus::ClientMetric::Label;

  /// What only rises, from the start of the process. Its name ends in `_total`. Metrics of one name
  /// have one help text, that of the first; they differ in their labels.
  void counter(const std::string& name, const std::string& help, double value,
               std::vector<Label> labels = {});
  /// What rises and falls.
  void gauge(const std::string& name, const std::string& help, double value,
             std::vector<Label> labels = {});
  /// What a registry collected.
  void add(const std::vector<prometheus::MetricFamily>& families);

  std::string text() const;

 private:
  prometheus::MetricFamily& family(const std::string& name, const std::string& help,
                                   prometheus::MetricType type);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace musher
