#include "monitoring/page.h"

#include <algorithm>
#include <utility>

#include <prometheus/text_serializer.h>

namespace musher {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily& MetricsPage::family(const std::string& name, const std::string& help,
                                  MetricType type) {
  const auto found = std::ranges::find(families_, name, &MetricFamily::name);
  if (found != families_.end()) return *found;
  return families_.emplace_back(MetricFamily{name, help, type, {}});
}

void MetricsPage::counter(const std::string& name, const std::string& help, double value,
                          std::vector<Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = value;
  family(name, help, MetricType::Counter).metric.push_back(std::move(metric));
}

void MetricsPage::gauge(const std::string& name, const std::string& help, double value,
                        std::vector<Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family(name, help, MetricType::Gauge).metric.push_back(std::move(metric));
}

void MetricsPage::add(const std::vector<MetricFamily>& families) {
  families_.insert(families_.end(), families.begin(), families.end());
}

std::string MetricsPage::text() const {
  return prometheus::TextSerializer().Serialize(families_);
}

}  // namespace musher
