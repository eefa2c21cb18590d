#include "coordinator/cli/endpoints_connection.h"

#include "coordinator/grpc_status.h"
#include "rpc/tls.h"

namespace musher::cli {

EndpointsConnection::EndpointsConnection(const CoordinatorAddress& address)
    : address_(address.host_and_port) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto credentials = channel_credentials({address_, address.tls}, arguments);
  stub_ = v1::Endpoints::NewStub(grpc::CreateCustomChannel(address_, credentials, arguments));
}

v1::DescribeEndpointResponse EndpointsConnection::describe(const std::string& name) {
  v1::DescribeEndpointRequest request;
  request.set_endpoint_name(name);
  return call(&v1::Endpoints::Stub::DescribeEndpoint, request);
}

void EndpointsConnection::check(const grpc::Status& status) const {
  if (status.ok()) return;
  const ErrorCode code = from_grpc(status.error_code());
  if (!retry_helps(code)) throw Error(code, status.error_message());
  throw Error(code, "no coordinator answers at " + address_ + " (" + status.error_message() +
                        "); start one with `musher serve`, or name another with --coordinator");
}

}  // namespace musher::cli
