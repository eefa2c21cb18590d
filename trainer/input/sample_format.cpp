#include "trainer/input/sample_format.h"

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "image/preprocessing.h"
#include "trainer/input/image_samples.h"
#include "trainer/input/table_samples.h"
#include "trainer/input/token_samples.h"

namespace musher {
namespace {

SampleFormat images(const Hyperparameters& h, const std::vector<std::string>& classes) {
  SampleFormat format;
  format.train = make_image_decoder(train_transform(h));
  format.evaluation = make_image_decoder(evaluation_transform(h));
  format.labels = h.num_classes > 0 ? h.num_classes : static_cast<std::int64_t>(classes.size());
  format.model_input = {h.image_channels, h.image_size, h.image_size};
  format.model_output = {format.labels};
  format.output_names = classes;
  format.preprocessing_json = preprocessing_json(evaluation_transform(h));
  return format;
}

SampleFormat rows(const Hyperparameters& h, const std::vector<std::string>& columns) {
  const ColumnChoice choice = choose_columns(columns, h.feature_columns, h.target_columns);
  SampleFormat format;
  format.train = make_table_decoder(columns.size(), choice);
  format.evaluation = make_table_decoder(columns.size(), choice);
  format.labels = kNumberTypes;
  format.model_input = {static_cast<std::int64_t>(choice.features.size())};
  format.model_output = {static_cast<std::int64_t>(choice.targets.size())};
  for (const std::size_t place : choice.targets) format.output_names.push_back(columns[place]);
  format.preprocessing_json = table_preprocessing_json(columns, choice);
  return format;
}

SampleFormat tokens(const Hyperparameters& h) {
  SampleFormat format;
  format.train = make_token_decoder(h.context_length, h.vocabulary_size);
  format.evaluation = make_token_decoder(h.context_length, h.vocabulary_size);
  format.labels = kNumberTypes;
  format.model_input = {h.context_length};
  format.model_output = {h.context_length, h.vocabulary_size};
  const nlohmann::ordered_json json = {{"format", "tokens"},
                                       {"context_length", h.context_length},
                                       {"vocabulary_size", h.vocabulary_size}};
  format.preprocessing_json = json.dump(2);
  return format;
}

}  // namespace

SampleFormat sample_format(TaskKind task, const Hyperparameters& hyperparameters,
                           const std::vector<std::string>& names) {
  switch (task) {
    case TaskKind::kImageClassification:
      return images(hyperparameters, names);
    case TaskKind::kRegression:
      return rows(hyperparameters, names);
    case TaskKind::kLanguageModeling:
      return tokens(hyperparameters);
  }
  throw Error(ErrorCode::kInternal, "a task that has no samples");
}

}  // namespace musher
