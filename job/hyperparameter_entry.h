#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "job/job.h"
#include "job/nearest.h"

/// What a line of the table of hyperparameters is, and the kinds of lines there are. Private to the
/// table: hyperparameters.cpp reads by it, the files hyperparameters_<topic>.cpp are it.
namespace musher {

/// One line of the table. `set` returns what is wrong with a value, or nothing.
struct HyperparameterEntry {
  std::string name;
  std::string type;
  std::string range;
  std::string standard;  ///< the default, as a person would write it
  std::string help;
  std::function<std::string(Hyperparameters&, const std::string&)> set;
};

// The parts of the table, in the order in which people read them.
std::vector<HyperparameterEntry> model_hyperparameters();
std::vector<HyperparameterEntry> training_hyperparameters();
std::vector<HyperparameterEntry> optimizer_hyperparameters();
std::vector<HyperparameterEntry> data_hyperparameters();

/// The lines of such a file are written in these words.
namespace hyperparameter_table {

using Entry = HyperparameterEntry;
using H = Hyperparameters;

template <typename T>
std::optional<T> number_from(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
Entry whole(std::string name, T H::*member, T min, T max, std::string help) {
  const std::string range = fmt::format("{} to {}", min, max);
  return {std::move(name),
          "whole number",
          range,
          fmt::format("{}", Hyperparameters{}.*member),
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            const auto value = number_from<T>(text);
            if (!value || *value < min || *value > max) {
              return fmt::format("must be a whole number from {}, not {}", range, in_quotes(text));
            }
            all.*member = *value;
            return {};
          }};
}

/// [min, max], or (min, …, or …, max) where the bound itself is out.
struct Range {
  double min;
  double max;
  bool above = false;  ///< min itself is out
  bool below = false;  ///< max itself is out

  bool contains(double x) const {
    return (above ? x > min : x >= min) && (below ? x < max : x <= max);
  }
  std::string words() const {
    return fmt::format("{}{} {}{}", above ? "above " : "", min, below ? "to below " : "to ", max);
  }
};

Entry real(std::string name, double H::*member, Range range, std::string help);

template <typename E>
Entry choice(std::string name, E H::*member, std::vector<std::pair<std::string, E>> values,
             std::string help) {
  std::vector<std::string> names;
  std::string standard;
  for (const auto& [text, value] : values) {
    names.push_back(text);
    if (value == Hyperparameters{}.*member) standard = text;
  }
  const std::string range = fmt::format("{}", fmt::join(names, ", "));
  return {std::move(name),
          "one of",
          range,
          standard,
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            for (const auto& [candidate, value] : values) {
              if (candidate != text) continue;
              all.*member = value;
              return {};
            }
            return fmt::format("must be one of {}, not {}", range, in_quotes(text));
          }};
}

Entry flag(std::string name, bool H::*member, std::string help);

/// How many numbers a list has, and how a person says so.
struct Count {
  std::size_t least;
  std::size_t most;
  std::string words;
};

/// `0.5, 0.5, 0.5`, in brackets or not.
Entry reals(std::string name, std::vector<double> H::*member, const Count& count, Range range,
            std::string standard, std::string help);

/// `price, area`, in brackets or not: names that are not empty.
Entry names(std::string name, std::vector<std::string> H::*member, std::string standard,
            std::string help);

/// The smallest and the greatest of something.
Entry interval(std::string name, std::vector<double> H::*member, Range range, std::string standard,
               std::string help);

/// `30, 60`, in brackets or not, into `numbers`; what is wrong with them, or nothing.
std::string set_whole_numbers(std::vector<std::int64_t>& numbers, const std::string& text,
                              std::int64_t max, bool ascending);

/// `layer4=0.1, fc=1` into `numbers`, in that order; what is wrong with them, or nothing.
std::string set_named_numbers(std::vector<std::pair<std::string, double>>& numbers,
                              const std::string& text, Range range);

}  // namespace hyperparameter_table
}  // namespace musher
