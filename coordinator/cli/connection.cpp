#include "coordinator/cli/connection.h"

#include "common/error.h"
#include "coordinator/grpc_status.h"
#include "rpc/tls.h"

namespace musher::cli {

Connection::Connection(const CoordinatorAddress& address)
    : address_(address.host_and_port), tls_(!address.tls.empty()) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  const auto credentials = channel_credentials({address_, address.tls}, arguments);
  channel_ = grpc::CreateCustomChannel(address_, credentials, arguments);
  stub_ = v1::Jobs::NewStub(channel_);
}

bool Connection::was_reached() const {
  // A connection that breaks leaves the channel idle; one that can't be made leaves it failing.
  return channel_->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE;
}

void Connection::check(const grpc::Status& status) const {
  if (status.ok()) return;
  const ErrorCode code = from_grpc(status.error_code());
  if (retry_helps(code)) {
    // A certificate that either side does not take ends the connection; gRPC alone knows why.
    throw Error(code, "no coordinator answers at " + address_ +
                          (tls_ ? " over TLS (" + status.error_message() + ")" : "") +
                          "; start one with `musher serve`, or name another with --coordinator");
  }
  throw Error(code, status.error_message());
}

}  // namespace musher::cli
