#include "coordinator/cli/connection.h"

#include "common/error.h"
#include "coordinator/grpc_status.h"

namespace musher::cli {

Connection::Connection(const std::string& address) : address_(address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  stub_ = v1::Jobs::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

void Connection::check(const grpc::Status& status) const {
  if (status.ok()) return;
  const ErrorCode code = from_grpc(status.error_code());
  if (retry_helps(code)) {
    throw Error(code, "no coordinator answers at " + address_ +
                          "; start one with `musher serve`, or name another with --coordinator");
  }
  throw Error(code, status.error_message());
}

}  // namespace musher::cli
