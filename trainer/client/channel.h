#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "common/deadline.h"
#include "common/error.h"

namespace musher {

/// How a rank's connection behaves; TLS is not among it.
grpc::ChannelArguments channel_arguments();

/// A connection to the coordinator that comes back by itself soon after the coordinator does.
/// `address`: an Endpoint's text (rpc/tls.h).
std::shared_ptr<grpc::Channel> open_channel(const std::string& address);

ErrorCode code_of(const grpc::Status& status);

/// gRPC wants a wall-clock time.
std::chrono::system_clock::time_point wall(Deadline::Clock::time_point when);

/// One call, as it is tried again while the coordinator can't be reached.
struct CallOptions {
  const char* what;                   ///< name of the call, for messages
  const std::string& address;         ///< of the coordinator, for messages
  std::chrono::milliseconds timeout;  ///< of one attempt
  Deadline deadline;                  ///< of all of them
  /// Waits, and says whether to go on; false ends the call with the last error.
  std::function<bool(std::chrono::milliseconds pause)> pause;
};

/// Repeats `attempt` with backoff. Throws Error with the coordinator's own message.
void call_with_retries(const CallOptions& options,
                       const std::function<grpc::Status(grpc::ClientContext&)>& attempt);

constexpr std::chrono::milliseconds kFirstBackoff{50};
constexpr std::chrono::milliseconds kMostBackoff{1'000};

}  // namespace musher
