#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "coordinator/cli/command.h"
#include "endpoints.grpc.pb.h"

namespace musher::cli {

/// The endpoints of a coordinator, as `Connection` is its jobs. Calls throw `Error`.
class EndpointsConnection {
 public:
  explicit EndpointsConnection(const CoordinatorAddress& address);

  template <typename Request, typename Reply>
  Reply call(grpc::Status (v1::Endpoints::Stub::*method)(grpc::ClientContext*, const Request&,
                                                         Reply*),
             const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Reply reply;
    check((*stub_.*method)(&context, request, &reply));
    return reply;
  }
  v1::DescribeEndpointResponse describe(const std::string& name);

 private:
  void check(const grpc::Status& status) const;

  std::string address_;
  std::unique_ptr<v1::Endpoints::Stub> stub_;
};

}  // namespace musher::cli
