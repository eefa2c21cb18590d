#include "trainer/input/table_samples.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace musher {
namespace {

class TableSamples final : public SampleDecoder {
 public:
  TableSamples(std::size_t columns, ColumnChoice choice)
      : columns_(columns), choice_(std::move(choice)) {}

  std::vector<std::int64_t> input_shape() const override {
    return {static_cast<std::int64_t>(choice_.features.size() + choice_.targets.size())};
  }

  void decode(const Sample& sample, std::span<const std::byte> bytes, std::uint64_t,
              float* out) const override {
    std::vector<float> row(columns_);
    read_row(bytes, static_cast<NumberType>(sample.label), row);
    for (const std::size_t column : choice_.features) *out++ = row[column];
    for (const std::size_t column : choice_.targets) *out++ = row[column];
  }

 private:
  std::size_t columns_;
  ColumnChoice choice_;
};

std::vector<std::string> named(const std::vector<std::string>& columns,
                               const std::vector<std::size_t>& places) {
  std::vector<std::string> names;
  for (const std::size_t place : places) names.push_back(columns[place]);
  return names;
}

}  // namespace

std::unique_ptr<SampleDecoder> make_table_decoder(std::size_t columns, ColumnChoice choice) {
  return std::make_unique<TableSamples>(columns, std::move(choice));
}

std::string table_preprocessing_json(const std::vector<std::string>& columns,
                                     const ColumnChoice& choice) {
  const nlohmann::ordered_json json = {{"format", "table"},
                                       {"features", named(columns, choice.features)},
                                       {"targets", named(columns, choice.targets)}};
  return json.dump(2);
}

}  // namespace musher
