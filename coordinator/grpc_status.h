#pragma once

#include <string>

#include <grpcpp/grpcpp.h>

#include "common/error.h"

namespace musher {

/// The edge between `Error` and gRPC, both ways, as docs/errors.md has it.
grpc::StatusCode to_grpc(ErrorCode code);
ErrorCode from_grpc(grpc::StatusCode code);

/// Calls `body`; what it throws becomes the status.
template <typename Body>
grpc::Status guarded(Body body) {
  try {
    body();
    return grpc::Status::OK;
  } catch (const Error& error) {
    return {to_grpc(error.code()), error.what()};
  } catch (const std::exception& error) {
    return {grpc::StatusCode::INTERNAL, error.what()};
  }
}

}  // namespace musher
