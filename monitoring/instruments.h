#pragma once

#include <chrono>
#include <string>

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace musher {

/// A counter without labels, from 0. The registry owns it.
inline prometheus::Counter& make_counter(prometheus::Registry& registry, const std::string& name,
                                         const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

/// A histogram without labels. The registry owns it.
inline prometheus::Histogram& make_histogram(
    prometheus::Registry& registry, const std::string& name, const std::string& help,
    const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

/// Prometheus' unit of time.
inline double in_seconds(std::chrono::duration<double> time) {
  return time.count();
}

}  // namespace musher
