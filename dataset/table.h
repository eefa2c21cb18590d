#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataset/numbers.h"
#include "dataset/sources.h"

namespace musher {

/// The manifest of a channel of tables, `*.csv` and `*.npy` (dataset/sources.h). Inside dataset.
Manifest table_manifest(ObjectStore& store, const std::vector<ObjectInfo>& objects,
                        const ManifestOptions& options);

/// Which columns of a table a model is given and which it is to find, by their places.
struct ColumnChoice {
  std::vector<std::size_t> features;
  std::vector<std::size_t> targets;
};

/// By names, of `columns` (Manifest::classes). Without targets it is the first column, without
/// features all columns that are not targets, in their order. kInvalidArgument naming the
/// hyperparameter, target_columns or feature_columns, and the column that is not there, is named
/// twice or is both.
ColumnChoice choose_columns(const std::vector<std::string>& columns,
                            const std::vector<std::string>& features,
                            const std::vector<std::string>& targets);

/// The numbers of one row, `columns` of them, into `out`. kDataLoss saying which column is wrong
/// for a line that has more or fewer numbers, or something that is no finite number.
void read_row(std::span<const std::byte> bytes, NumberType type, std::span<float> out);

}  // namespace musher
