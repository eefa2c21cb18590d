#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/cli/command.h"
#include "endpoints.pb.h"

namespace musher::cli {

/// What `musher endpoint create` and `update` choose.
struct EndpointChoices {
  void add_to(Options& options);
  /// Only what was given.
  v1::EndpointSettings settings() const;

 private:
  std::optional<std::string> model_, keys_, region_;
  std::vector<std::string> server_;
  std::optional<int> min_, max_, out_periods_, in_periods_;
  std::optional<double> target_, period_, out_cooldown_, in_cooldown_, startup_;
};

}  // namespace musher::cli
