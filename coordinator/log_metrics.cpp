#include "coordinator/log_metrics.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include <re2/re2.h>

namespace musher {

namespace {

constexpr std::size_t kLongestLine = 64 << 10;

/// As Python's float() reads it: spaces around and a sign are fine. Infinities and NaN are not: a
/// curve has no place for them.
std::optional<double> number(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

struct LogMetrics::Expression {
  std::string name;
  std::unique_ptr<re2::RE2> regex;
};

LogMetrics::LogMetrics(const std::vector<MetricDefinition>& definitions) {
  for (const MetricDefinition& definition : definitions) {
    expressions_.push_back(
        {definition.name, std::make_unique<re2::RE2>(definition.regex, re2::RE2::Quiet)});
  }
}

LogMetrics::~LogMetrics() = default;

bool LogMetrics::empty() const {
  return expressions_.empty();
}

std::vector<LogMetric> LogMetrics::find(const std::string& line) const {
  const re2::StringPiece text(line.data(), std::min(line.size(), kLongestLine));
  std::vector<LogMetric> found;
  for (const Expression& expression : expressions_) {
    re2::StringPiece group;
    if (!re2::RE2::PartialMatch(text, *expression.regex, &group)) continue;
    if (const auto value = number({group.data(), group.size()})) {
      found.push_back({expression.name, *value});
    }
  }
  return found;
}

}  // namespace musher
