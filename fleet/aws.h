#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "common/deadline.h"
#include "common/error.h"

namespace musher {

/// How AWS is called. What is empty is left to AWS's command line and its own configuration, which
/// also finds the credentials: an instance's role, a profile, the environment.
struct AwsAccess {
  std::string program = "/usr/bin/aws";  ///< version 2
  std::string region;
  std::string endpoint;  ///< of a stand-in for AWS, e.g. http://127.0.0.1:5000
};

/// AWS refused a call.
class AwsError : public Error {
 public:
  AwsError(ErrorCode code, const std::string& message, std::string aws_code, std::string call = {})
      : Error(code, message), aws_code_(std::move(aws_code)), call_(std::move(call)) {}
  /// As AWS has it, e.g. InvalidGroup.NotFound; empty where the call did not reach AWS.
  const std::string& aws_code() const { return aws_code_; }
  /// What was called, e.g. run-instances.
  const std::string& call() const { return call_; }

 private:
  std::string aws_code_;
  std::string call_;
};

/// One call: `aws SERVICE OPERATION` without a shell, the request as JSON in, the answer as JSON
/// out; null where the operation answers nothing. Nothing secret may be in a request: it is an
/// argument of a process. Throws AwsError, and kDeadlineExceeded.
nlohmann::json aws_call(const AwsAccess& access, const std::string& service,
                        const std::string& operation, const nlohmann::json& request,
                        Deadline deadline);

/// The region that calls go to. kInvalidArgument where none is configured.
std::string aws_region(const AwsAccess& access, Deadline deadline);

}  // namespace musher
