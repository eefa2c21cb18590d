#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataset/table.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// Rows of a table with these columns: samples of shape [features + targets], the chosen columns
/// in that order.
std::unique_ptr<SampleDecoder> make_table_decoder(std::size_t columns, ColumnChoice choice);

/// `preprocessing.json` of an artifact (docs/formats.md): which columns, by name, the model is
/// given and which it gives.
std::string table_preprocessing_json(const std::vector<std::string>& columns,
                                     const ColumnChoice& choice);

}  // namespace musher
