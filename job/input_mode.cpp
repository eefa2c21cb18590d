#include "job/input_mode.h"

namespace musher {

std::vector<std::string> file_mode_channels(const v1::CreateTrainingJobRequest& request) {
  using Algorithm = v1::AlgorithmSpecification;
  std::vector<std::string> names;
  for (const v1::Channel& channel : request.input_data_config()) {
    const auto mode = channel.input_mode() != Algorithm::INPUT_MODE_UNSPECIFIED
                          ? channel.input_mode()
                          : request.algorithm_specification().training_input_mode();
    if (mode != Algorithm::File) continue;
    names.push_back(channel.channel_name() == "training" ? "train" : channel.channel_name());
  }
  return names;
}

}  // namespace musher
