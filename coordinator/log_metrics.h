#pragma once

#include <memory>
#include <string>
#include <vector>

#include "job/job.h"

namespace musher {

struct LogMetric {
  std::string name;
  double value = 0;
};

/// MetricDefinitions over the lines that ranks print. Expressions are RE2's: the time for a line
/// grows with its length alone, whatever the expression. Thread-safe.
class LogMetrics {
 public:
  /// REQUIRES: every expression compiles and has a group, as a validated job's do.
  explicit LogMetrics(const std::vector<MetricDefinition>& definitions);
  ~LogMetrics();

  bool empty() const;
  /// What a line says, in the order of the definitions: the first match of each, where its group
  /// holds a number. Lines beyond 64 KiB are looked at that far.
  std::vector<LogMetric> find(const std::string& line) const;

 private:
  struct Expression;
  std::vector<Expression> expressions_;
};

}  // namespace musher
