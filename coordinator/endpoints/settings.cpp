#include "coordinator/endpoints/settings.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "common/error.h"
#include "storage/uri.h"

namespace musher {
namespace {

constexpr double kDaySeconds = 86'400;
constexpr int kMostInstances = 64;

/// What a person may set of musher-endpoint; the rest is the coordinator's.
constexpr std::array kServerOptions = {"max-batch-size",
                                       "max-batch-delay-ms",
                                       "preferred-batch-sizes",
                                       "max-queued",
                                       "instances",
                                       "threads",
                                       "decode-threads",
                                       "io-threads",
                                       "request-timeout",
                                       "body-timeout",
                                       "idle-timeout",
                                       "body-limit-mib",
                                       "buffer-limit-mib",
                                       "max-connections",
                                       "max-megapixels",
                                       "allow-url",
                                       "drain"};

void require(bool good, const std::string& message) {
  if (!good) throw Error(ErrorCode::kInvalidArgument, message);
}

void check_name(const std::string& name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  require(
      !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
          std::ranges::all_of(name, good),
      fmt::format("EndpointName: must be 1 to 63 letters, digits and hyphens between, not \"{}\"",
                  name));
}

void check_server_option(const std::string& option) {
  const std::size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  require(
      equals != option.npos && equals + 1 < option.size(),
      fmt::format("ServerOptions: must be KEY=VALUE, e.g. max-batch-size=8, not \"{}\"", option));
  require(
      std::ranges::find(kServerOptions, key) != kServerOptions.end(),
      fmt::format("ServerOptions: \"{}\" is not one of {}", key, fmt::join(kServerOptions, ", ")));
}

void check_seconds(const char* field, double seconds, double least) {
  require(seconds >= least && seconds <= kDaySeconds,
          fmt::format("{}: must be {} to {} seconds, not {}", field, least, kDaySeconds, seconds));
}

void check_periods(const char* field, int periods) {
  require(periods >= 1 && periods <= kMostPeriods,
          fmt::format("{}: must be 1 to {}, not {}", field, kMostPeriods, periods));
}

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::llround(seconds * 1000)));
}

}  // namespace

v1::EndpointSettings with_defaults(const v1::EndpointSettings& given) {
  const ScalingPolicy policy;
  const auto seconds = [](std::chrono::milliseconds time) {
    return static_cast<double>(time.count()) / 1000;
  };
  v1::EndpointSettings settings;
  settings.set_model("");
  settings.set_keys("");
  settings.set_region("us-east-1");
  settings.set_min_capacity(policy.min_capacity);
  settings.set_max_capacity(given.has_min_capacity()
                                ? std::max(given.min_capacity(), policy.max_capacity)
                                : policy.max_capacity);
  settings.set_target(policy.target);
  settings.set_period_seconds(seconds(policy.period));
  settings.set_out_periods(policy.out_periods);
  settings.set_in_periods(policy.in_periods);
  settings.set_out_cooldown_seconds(seconds(policy.out_cooldown));
  settings.set_in_cooldown_seconds(seconds(policy.in_cooldown));
  settings.set_startup_seconds(240);  // as SageMaker waits
  return updated(settings, given);
}

v1::EndpointSettings updated(const v1::EndpointSettings& old, const v1::EndpointSettings& given) {
  v1::EndpointSettings settings = old;
  if (given.server_options_size() > 0) settings.clear_server_options();
  settings.MergeFrom(given);
  return settings;
}

void check(const std::string& endpoint_name, const v1::EndpointSettings& settings) {
  check_name(endpoint_name);
  require(!settings.model().empty(), "ModelDataUrl: is required");
  Uri::parse(settings.model());
  for (const std::string& option : settings.server_options()) check_server_option(option);
  require(settings.keys().empty() || settings.keys().front() == '/',
          fmt::format("Keys: must be a folder's absolute path, not \"{}\"", settings.keys()));
  require(
      settings.min_capacity() >= 1 && settings.min_capacity() <= kMostInstances,
      fmt::format("MinCapacity: must be 1 to {}, not {}", kMostInstances, settings.min_capacity()));
  require(settings.max_capacity() >= settings.min_capacity() &&
              settings.max_capacity() <= kMostInstances,
          fmt::format("MaxCapacity: must be MinCapacity, {}, to {}, not {}",
                      settings.min_capacity(), kMostInstances, settings.max_capacity()));
  require(settings.target() > 0 && std::isfinite(settings.target()),
          fmt::format("TargetValue: must be above 0, not {}", settings.target()));
  check_seconds("PeriodInSeconds", settings.period_seconds(), 1);
  check_periods("ScaleOutPeriods", settings.out_periods());
  check_periods("ScaleInPeriods", settings.in_periods());
  check_seconds("ScaleOutCooldown", settings.out_cooldown_seconds(), 0);
  check_seconds("ScaleInCooldown", settings.in_cooldown_seconds(), 0);
  check_seconds("ContainerStartupHealthCheckTimeoutInSeconds", settings.startup_seconds(), 1);
}

bool same_instances(const v1::EndpointSettings& a, const v1::EndpointSettings& b) {
  return a.model() == b.model() && a.keys() == b.keys() && a.region() == b.region() &&
         std::ranges::equal(a.server_options(), b.server_options());
}

ScalingPolicy policy_of(const v1::EndpointSettings& settings) {
  ScalingPolicy policy;
  policy.min_capacity = settings.min_capacity();
  policy.max_capacity = settings.max_capacity();
  policy.target = settings.target();
  policy.period = milliseconds_of(settings.period_seconds());
  policy.out_periods = settings.out_periods();
  policy.in_periods = settings.in_periods();
  policy.out_cooldown = milliseconds_of(settings.out_cooldown_seconds());
  policy.in_cooldown = milliseconds_of(settings.in_cooldown_seconds());
  return policy;
}

std::string endpoint_arn(const std::string& name, const std::string& region) {
  std::string lower = name;
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return fmt::format("arn:aws:sagemaker:{}:000000000000:endpoint/{}", region, lower);
}

}  // namespace musher
