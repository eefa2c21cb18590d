#include "coordinator/cli/endpoint_options.h"

#include <filesystem>

namespace musher::cli {

void EndpointChoices::add_to(Options& options) {
  options.add("model", &model_, "URI", "model.tar.gz of a job, s3://… or file:///…");
  options.add(
      "server", &server_, "KEY=VALUE",
      "an option of each musher-endpoint, such as max-batch-size=8; may be repeated, and in "
      "an update replaces all that there were");
  options.add("keys", &keys_, "FOLDER",
              "requests must be signed by keys that `musher access` made there");
  options.add("region", &region_, "REGION", "that signatures are for (us-east-1)");
  options.add("min", &min_, "N", "least instances (1)");
  options.add("max", &max_, "N", "most instances (4)");
  options.add("target", &target_, "N", "invocations per instance and period that are right (70)");
  options.add("period", &period_, "SECONDS", "over which they are counted (60)");
  options.add("scale-out-periods", &out_periods_, "N",
              "in a row above the target: more instances (3)");
  options.add("scale-in-periods", &in_periods_, "N",
              "in a row below 0.9 of it: fewer instances (15)");
  options.add("scale-out-cooldown", &out_cooldown_, "SECONDS", "after more came (300)");
  options.add("scale-in-cooldown", &in_cooldown_, "SECONDS", "after some went (300)");
  options.add("startup-timeout", &startup_, "SECONDS",
              "for an instance to answer /ping after its start (240)");
}

v1::EndpointSettings EndpointChoices::settings() const {
  v1::EndpointSettings settings;
  if (model_) settings.set_model(*model_);
  for (const std::string& option : server_) settings.add_server_options(option);
  if (keys_) settings.set_keys(keys_->empty() ? "" : std::filesystem::absolute(*keys_).string());
  if (region_) settings.set_region(*region_);
  if (min_) settings.set_min_capacity(*min_);
  if (max_) settings.set_max_capacity(*max_);
  if (target_) settings.set_target(*target_);
  if (period_) settings.set_period_seconds(*period_);
  if (out_periods_) settings.set_out_periods(*out_periods_);
  if (in_periods_) settings.set_in_periods(*in_periods_);
  if (out_cooldown_) settings.set_out_cooldown_seconds(*out_cooldown_);
  if (in_cooldown_) settings.set_in_cooldown_seconds(*in_cooldown_);
  if (startup_) settings.set_startup_seconds(*startup_);
  return settings;
}

}  // namespace musher::cli
