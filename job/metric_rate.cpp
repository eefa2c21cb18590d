#include "job/metric_rate.h"

#include <string>

namespace musher {

std::int64_t metrics_every_steps(const v1::CreateTrainingJobRequest& request) {
  const auto& given = request.hyper_parameters();
  const auto found = given.find("metrics_every_steps");
  return found == given.end() ? 0 : std::stoll(found->second);
}

}  // namespace musher
