#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace musher {

/// What a job learns, by AlgorithmSpecification.AlgorithmName: what a sample is, what the model's
/// outputs are compared with, and what is measured.
enum class TaskKind {
  kImageClassification,  ///< images by class
  kRegression,           ///< rows of tables: some columns from the others
  kLanguageModeling,     ///< the next token, from those before it
};

/// A task as a job file names it.
struct TaskInfo {
  TaskKind kind = TaskKind::kImageClassification;
  std::string name;                  ///< AlgorithmName
  std::string model;                 ///< where the job names none
  std::vector<std::string> models;   ///< the built-in ones that suit it
  std::vector<std::string> metrics;  ///< `train:<name>` and `validation:<name>`, beside `loss`
};

/// All there are; the first is that of a job that names none.
const std::vector<TaskInfo>& tasks();
const TaskInfo& task_info(TaskKind kind);

/// `train:loss`, `validation:loss` and so on: all that early_stopping_metric may be.
std::vector<std::string> task_metrics(TaskKind kind);

/// The hyperparameters that mean something to one task alone.
const std::vector<std::pair<TaskKind, std::vector<std::string>>>& hyperparameters_of_tasks();

/// Whether a greater value of the metric, by its name with or without `train:`, is a better one.
bool greater_is_better(std::string_view metric);

}  // namespace musher
