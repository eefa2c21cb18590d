#include "fleet/aws.h"

#include <array>
#include <regex>
#include <vector>

#include <fmt/format.h>

#include "launch/command.h"

namespace musher {

namespace {

using nlohmann::json;

/// Beginnings of AWS's codes, and what a caller can do about them.
constexpr std::array<std::pair<std::string_view, ErrorCode>, 12> kCodes = {{
    {"UnauthorizedOperation", ErrorCode::kPermissionDenied},
    {"AccessDenied", ErrorCode::kPermissionDenied},
    {"AuthFailure", ErrorCode::kPermissionDenied},
    {"InvalidClientTokenId", ErrorCode::kPermissionDenied},
    {"ExpiredToken", ErrorCode::kPermissionDenied},
    {"InsufficientInstanceCapacity", ErrorCode::kUnavailable},
    {"RequestLimitExceeded", ErrorCode::kUnavailable},
    {"Unavailable", ErrorCode::kUnavailable},
    {"InternalError", ErrorCode::kUnavailable},
    {"VcpuLimitExceeded", ErrorCode::kResourceExhausted},
    {"MaxSpotInstanceCountExceeded", ErrorCode::kResourceExhausted},
    {"InstanceLimitExceeded", ErrorCode::kResourceExhausted},
}};

ErrorCode code_of(const std::string& aws_code) {
  for (const auto& [begins, code] : kCodes) {
    if (aws_code.starts_with(begins)) return code;
  }
  return aws_code.find("NotFound") != std::string::npos || aws_code == "NoSuchEntity"
             ? ErrorCode::kNotFound
             : ErrorCode::kFailedPrecondition;
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  const std::size_t first = text.find_first_not_of(' ');
  const std::size_t last = text.find_last_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

[[noreturn]] void fail(const std::string& service, const std::string& operation,
                       const CommandResult& result) {
  const std::string what = fmt::format("aws {} {}", service, operation);
  static const std::regex pattern(
      R"(An error occurred \(([^)]+)\) when calling the \S+ operation(?: \(reached max retries: \d+\))?: ([^]*))");
  std::smatch found;
  if (std::regex_search(result.err, found, pattern)) {
    const std::string aws_code = found[1];
    throw AwsError(code_of(aws_code),
                   fmt::format("{}: {} ({})", what, one_line(found[2]), aws_code), aws_code,
                   operation);
  }
  const bool unreached = result.err.find("Could not connect") != std::string::npos ||
                         result.err.find("Connection was closed") != std::string::npos;
  throw AwsError(unreached ? ErrorCode::kUnavailable : ErrorCode::kFailedPrecondition,
                 fmt::format("{}: {}", what, one_line(result.err)), "", operation);
}

CommandResult run_aws(const AwsAccess& access, std::vector<std::string> words, Deadline deadline) {
  words.insert(words.begin(), access.program);
  CommandResult result = run_command(words, "", deadline);
  if (result.timed_out) {
    throw Error(ErrorCode::kDeadlineExceeded,
                fmt::format("aws {} {} did not answer in time", words[1], words[2]));
  }
  return result;
}

}  // namespace

json aws_call(const AwsAccess& access, const std::string& service, const std::string& operation,
              const json& request, Deadline deadline) {
  std::vector<std::string> words = {
      service,    operation, "--cli-input-json", request.dump(),
      "--output", "json",    "--no-cli-pager",   "--no-cli-auto-prompt"};
  if (!access.region.empty()) words.insert(words.end(), {"--region", access.region});
  if (!access.endpoint.empty()) words.insert(words.end(), {"--endpoint-url", access.endpoint});
  const CommandResult result = run_aws(access, words, deadline);
  if (result.exit_code != 0) fail(service, operation, result);
  if (result.out.find_first_not_of(" \n") == std::string::npos) return nullptr;
  json answer = json::parse(result.out, nullptr, false);
  if (answer.is_discarded()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("aws {} {} did not answer with JSON", service, operation));
  }
  return answer;
}

std::string aws_region(const AwsAccess& access, Deadline deadline) {
  if (!access.region.empty()) return access.region;
  std::string region = one_line(run_aws(access, {"configure", "get", "region"}, deadline).out);
  if (region.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "no region is configured; name one with --region, e.g. us-east-1");
  }
  return region;
}

}  // namespace musher
