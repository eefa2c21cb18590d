#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "serving/endpoint/predictor.h"
#include "storage/config.h"

namespace musher {

struct PredictorOptions {
  std::size_t instances = 1;
  std::size_t warm_up_batch = 32;        ///< the largest batch to come
  std::int64_t max_pixels = 50'000'000;  ///< of a picture that is sent
};

/// The model of `uri`, the `model.tar.gz` of a job, with the preprocessing that it was evaluated
/// with in training: the same picture gives the same logits. On the CPU. Reads the archive once,
/// and has run a small and a large batch on each instance on return. kNotFound, kDataLoss,
/// kInvalidArgument with the URI.
std::shared_ptr<Predictor> load_predictor(const std::string& uri, const StorageConfig& storage,
                                          const PredictorOptions& options);

/// How many threads one instance computes with; before the first prediction.
void set_compute_threads(int threads);

}  // namespace musher
