#include "trainer/client/channel.h"

#include <algorithm>

#include "rpc/tls.h"

namespace musher {
namespace {
constexpr int kMostMessageBytes = 64 << 20;  // a shard's block
constexpr int kShardsOnTheirWay = 4 << 20;
}  // namespace

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // A coordinator that restarts is back within a second or two: gRPC's own back-off, up to two
  // minutes, would sleep through that, and so would its resolver, which after a lost connection
  // looks an address up again only half a minute after the last time, though it be a number.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 100);
  // gRPC would measure the line by a ping behind each heartbeat, which costs the coordinator as
  // much as the heartbeat does. Shards, the one thing that is large, get their room without it.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kShardsOnTheirWay);
  arguments.SetMaxReceiveMessageSize(kMostMessageBytes);
  arguments.SetMaxSendMessageSize(kMostMessageBytes);
  return arguments;
}

std::shared_ptr<grpc::Channel> open_channel(const std::string& address) {
  const Endpoint endpoint = Endpoint::parse(address);
  grpc::ChannelArguments arguments = channel_arguments();
  const auto credentials = channel_credentials(endpoint, arguments);
  return grpc::CreateCustomChannel(endpoint.address, credentials, arguments);
}

ErrorCode code_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return ErrorCode::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND:
      return ErrorCode::kNotFound;
    case grpc::StatusCode::ALREADY_EXISTS:
      return ErrorCode::kAlreadyExists;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return ErrorCode::kPermissionDenied;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return ErrorCode::kFailedPrecondition;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return ErrorCode::kResourceExhausted;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // a server that shuts down ends its calls so,
    case grpc::StatusCode::UNKNOWN:    // and one that was killed may leave this
      return ErrorCode::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return ErrorCode::kDeadlineExceeded;
    case grpc::StatusCode::DATA_LOSS:
      return ErrorCode::kDataLoss;
    default:
      return ErrorCode::kInternal;
  }
}

std::chrono::system_clock::time_point wall(Deadline::Clock::time_point when) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(when -
                                                                         Deadline::Clock::now());
}

void call_with_retries(const CallOptions& options,
                       const std::function<grpc::Status(grpc::ClientContext&)>& attempt) {
  for (auto backoff = kFirstBackoff;; backoff = std::min(2 * backoff, kMostBackoff)) {
    grpc::ClientContext context;
    context.set_deadline(
        wall(std::min(Deadline::Clock::now() + options.timeout, options.deadline.when())));
    const grpc::Status status = attempt(context);
    if (status.ok()) return;
    const ErrorCode code = code_of(status);
    const std::string message =
        std::string(options.what) + " at the coordinator " + options.address +
        (retry_helps(code) ? ", which can't be reached: " : ": ") + status.error_message();
    if (!retry_helps(code) || options.deadline.expired() || !options.pause(backoff)) {
      throw Error(code, message);
    }
  }
}

}  // namespace musher
