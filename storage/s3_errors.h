#pragma once

#include <string>
#include <string_view>

#include "common/error.h"

namespace musher {

/// What an S3 failure means, for a program (`code`) and for a person (`why`, one line).
struct S3Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string why;
  bool vague = false;  ///< a bare 403 without a body, as HEAD answers: a GET would tell more
};

/// From the text of an Arrow status, the only place where Arrow hands on what the server said, e.g.
/// "When reading … : AWS Error ACCESS_DENIED during HeadObject operation: No response body.". Pure.
S3Failure explain_s3_failure(std::string_view message);

/// `text` on one line: each run of white space becomes one blank.
std::string one_line(std::string_view text);

}  // namespace musher
