#include "storage/s3_errors.h"

#include <fmt/format.h>

namespace musher {
namespace {

struct Rule {
  std::string_view
      mark;  // as Arrow names the AWS SDK's error type, or as the server names its code
  ErrorCode code;
  std::string_view why;  // empty: the server's own words say it
};

// In this order: the first mark found in the message decides.
constexpr Rule kRules[] = {
    {"NO_SUCH_BUCKET", ErrorCode::kNotFound, "the bucket does not exist"},
    {"NoSuchBucket", ErrorCode::kNotFound, "the bucket does not exist"},
    {"NO_SUCH_KEY", ErrorCode::kNotFound, "there is no such object"},
    {"NO_SUCH_UPLOAD", ErrorCode::kFailedPrecondition, "the upload was aborted by someone else"},
    {"RESOURCE_NOT_FOUND", ErrorCode::kNotFound, "there is no such object"},
    {"SIGNATURE_DOES_NOT_MATCH", ErrorCode::kPermissionDenied,
     "the secret access key does not belong to the access key id"},
    {"SignatureDoesNotMatch", ErrorCode::kPermissionDenied,
     "the secret access key does not belong to the access key id"},
    {"INVALID_ACCESS_KEY_ID", ErrorCode::kPermissionDenied,
     "the server does not know the access key id"},
    {"InvalidAccessKeyId", ErrorCode::kPermissionDenied,
     "the server does not know the access key id"},
    {"ExpiredToken", ErrorCode::kPermissionDenied, "the session token has expired"},
    {"InvalidToken", ErrorCode::kPermissionDenied, "the session token is not valid"},
    {"REQUEST_EXPIRED", ErrorCode::kPermissionDenied, "the credentials have expired"},
    {"REQUEST_TIME_TOO_SKEWED", ErrorCode::kPermissionDenied,
     "this host's clock differs too much from the server's"},
    {"RequestTimeTooSkewed", ErrorCode::kPermissionDenied,
     "this host's clock differs too much from the server's"},
    {"ACCESS_DENIED", ErrorCode::kPermissionDenied,
     "the server accepts no such request with these credentials"},
    {"(HTTP status 401)", ErrorCode::kPermissionDenied,
     "the server accepts no such request with these credentials"},
    {"(HTTP status 403)", ErrorCode::kPermissionDenied,
     "the server accepts no such request with these credentials"},
    {"(HTTP status 301)", ErrorCode::kInvalidArgument, "the bucket is in another region"},
    {"(HTTP status 400)", ErrorCode::kInvalidArgument, ""},
    {"(HTTP status 507)", ErrorCode::kResourceExhausted, "the server is out of space"},
    {"curlCode: 60,", ErrorCode::kFailedPrecondition,
     "the server's certificate is not trusted: name its authority's file in AWS_CA_BUNDLE"},
    {"curlCode: 77,", ErrorCode::kFailedPrecondition,
     "the file of trusted certificates (AWS_CA_BUNDLE) can't be read"},
    {"NETWORK_CONNECTION", ErrorCode::kUnavailable, "the server can't be reached"},
    {"SLOW_DOWN", ErrorCode::kUnavailable, "the server asks for fewer requests"},
    {"THROTTLING", ErrorCode::kUnavailable, "the server asks for fewer requests"},
    {"SERVICE_UNAVAILABLE", ErrorCode::kUnavailable, "the server is not available"},
    {"INTERNAL_FAILURE", ErrorCode::kUnavailable, "the server failed"},
    {"REQUEST_TIMEOUT", ErrorCode::kUnavailable, "the server did not answer in time"},
    {"(HTTP status 5", ErrorCode::kUnavailable, "the server failed"},
    {"(HTTP status 429)", ErrorCode::kUnavailable, "the server asks for fewer requests"},
    {"(HTTP status -1)", ErrorCode::kUnavailable, "the server can't be reached"},
};

}  // namespace

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!blank) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  if (line.ends_with(' ')) line.pop_back();
  return line;
}

S3Failure explain_s3_failure(std::string_view message) {
  // What comes before names key and bucket, which might hold any of the marks.
  const std::size_t start = message.rfind("AWS Error ");
  if (start != message.npos) message.remove_prefix(start);
  const std::string said = one_line(message);
  for (const Rule& rule : kRules) {
    if (message.find(rule.mark) == message.npos) continue;
    S3Failure failure{rule.code, said, false};
    if (!rule.why.empty()) failure.why = fmt::format("{} ({})", rule.why, said);
    failure.vague =
        rule.mark == "ACCESS_DENIED" && message.find("No response body") != message.npos;
    return failure;
  }
  return {ErrorCode::kInternal, said, false};
}

}  // namespace musher
