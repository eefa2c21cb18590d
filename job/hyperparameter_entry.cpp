#include "job/hyperparameter_entry.h"

#include <algorithm>
#include <cmath>

namespace musher::hyperparameter_table {

namespace {

std::optional<double> real_from(std::string_view text) {
  const auto value = number_from<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

/// The parts between commas, without blanks around them; brackets around it all are left out.
std::vector<std::string_view> parts_of(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, comma);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    parts.push_back(part);
    if (comma == text.size()) return parts;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

Entry real(std::string name, double H::*member, Range range, std::string help) {
  return {std::move(name),
          "number",
          range.words(),
          fmt::format("{}", Hyperparameters{}.*member),
          std::move(help),
          [=](H& all, const std::string& text) -> std::string {
            const auto value = real_from(text);
            if (!value || !range.contains(*value)) {
              return fmt::format("must be a number from {}, not {}", range.words(),
                                 in_quotes(text));
            }
            all.*member = *value;
            return {};
          }};
}

Entry flag(std::string name, bool H::*member, std::string help) {
  return choice<bool>(std::move(name), member, {{"true", true}, {"false", false}}, std::move(help));
}

Entry reals(std::string name, std::vector<double> H::*member, const Count& count, Range range,
            std::string standard, std::string help) {
  return {std::move(name),
          "numbers",
          count.words + ", " + range.words(),
          std::move(standard),
          std::move(help),
          [=](H& all, const std::string& text) -> std::string {
            std::string wrong = fmt::format("must be {}, with commas between, each {}, not {}",
                                            count.words, range.words(), in_quotes(text));
            std::vector<double> values;
            for (const std::string_view part : parts_of(text)) {
              const auto value = real_from(part);
              if (!value || !range.contains(*value)) return wrong;
              values.push_back(*value);
            }
            if (values.size() < count.least || values.size() > count.most) return wrong;
            all.*member = std::move(values);
            return {};
          }};
}

Entry names(std::string name, std::vector<std::string> H::*member, std::string standard,
            std::string help) {
  return {std::move(name),
          "names",
          "with commas between",
          std::move(standard),
          std::move(help),
          [=](H& all, const std::string& text) -> std::string {
            std::vector<std::string> values;
            for (const std::string_view part : parts_of(text)) {
              if (part.empty())
                return fmt::format("must be names with commas between, not {}", in_quotes(text));
              values.emplace_back(part);
            }
            all.*member = std::move(values);
            return {};
          }};
}

Entry interval(std::string name, std::vector<double> H::*member, Range range, std::string standard,
               std::string help) {
  return reals(std::move(name), member, {2, 2, "two numbers, the smaller first"}, range,
               std::move(standard), std::move(help));
}

std::string set_whole_numbers(std::vector<std::int64_t>& numbers, const std::string& text,
                              std::int64_t max, bool ascending) {
  std::vector<std::int64_t> result;
  for (const std::string_view part : parts_of(text)) {
    const auto number = number_from<std::int64_t>(part);
    if (!number || *number < 1 || *number > max ||
        (ascending && !result.empty() && *number <= result.back())) {
      return fmt::format("must be whole numbers from 1 to {}, {}with commas between, not {}", max,
                         ascending ? "ascending, " : "", in_quotes(text));
    }
    result.push_back(*number);
  }
  numbers = std::move(result);
  return {};
}

std::string set_named_numbers(std::vector<std::pair<std::string, double>>& numbers,
                              const std::string& text, Range range) {
  std::vector<std::pair<std::string, double>> result;
  for (const std::string_view part : parts_of(text)) {
    const std::size_t equals = part.find('=');
    const std::string name(part.substr(0, equals));
    const auto value =
        equals == std::string_view::npos ? std::nullopt : real_from(part.substr(equals + 1));
    if (name.empty() || !value || !range.contains(*value)) {
      return fmt::format("must be name=number, with commas between, each number {}, not {}",
                         range.words(), in_quotes(text));
    }
    for (const auto& [other, number] : result) {
      if (other == name) return fmt::format("has {} twice", in_quotes(name));
    }
    result.emplace_back(name, *value);
  }
  numbers = std::move(result);
  return {};
}

}  // namespace musher::hyperparameter_table
