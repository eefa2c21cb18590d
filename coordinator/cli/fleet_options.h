#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/cli/command.h"
#include "fleet/aws.h"
#include "fleet/plan.h"

namespace musher::cli {

/// What a fleet is to be: of `musher fleet up`.
class FleetOptions {
 public:
  void add_to(Options& options);
  /// All but what a job says of its own fleet: instances, type, spot, slots.
  void add_common_to(Options& options);
  /// All but the public key. Throws kInvalidArgument naming the option.
  FleetSettings settings(const std::string& name) const;
  int slots(int gpus) const;

 private:
  FleetSettings settings_;
  std::string role_policy_;
  std::string efa_ = "no";
  std::vector<std::string> tags_;
  std::optional<int> slots_;
};

/// `--region`, `--endpoint`, `--aws`.
void add_aws_options(Options& options, AwsAccess* access);

}  // namespace musher::cli
