#include "coordinator/grpc_status.h"

#include <array>
#include <utility>

namespace musher {

namespace {

using Code = grpc::StatusCode;
constexpr std::array<std::pair<ErrorCode, Code>, 10> kCodes{{
    {ErrorCode::kInvalidArgument, Code::INVALID_ARGUMENT},
    {ErrorCode::kNotFound, Code::NOT_FOUND},
    {ErrorCode::kAlreadyExists, Code::ALREADY_EXISTS},
    {ErrorCode::kPermissionDenied, Code::PERMISSION_DENIED},
    {ErrorCode::kFailedPrecondition, Code::FAILED_PRECONDITION},
    {ErrorCode::kResourceExhausted, Code::RESOURCE_EXHAUSTED},
    {ErrorCode::kUnavailable, Code::UNAVAILABLE},
    {ErrorCode::kDeadlineExceeded, Code::DEADLINE_EXCEEDED},
    {ErrorCode::kDataLoss, Code::DATA_LOSS},
    {ErrorCode::kInternal, Code::INTERNAL},
}};

}  // namespace

Code to_grpc(ErrorCode code) {
  for (const auto& [ours, theirs] : kCodes) {
    if (ours == code) return theirs;
  }
  return Code::INTERNAL;
}

ErrorCode from_grpc(Code code) {
  for (const auto& [ours, theirs] : kCodes) {
    if (theirs == code) return ours;
  }
  return code == Code::UNAUTHENTICATED ? ErrorCode::kPermissionDenied : ErrorCode::kInternal;
}

}  // namespace musher
