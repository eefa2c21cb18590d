#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "coordinator/cli/command.h"
#include "jobs.grpc.pb.h"

namespace musher::cli {

/// The coordinator, as commands talk to it. Calls throw `Error`; kUnavailable names the address.
class Connection {
 public:
  /// Throws kInvalidArgument where its TLS folder is not as it must be.
  explicit Connection(const CoordinatorAddress& address);

  /// Whether the coordinator was reached at all, as far as is known after a call that failed: then
  /// the call may have been carried out, and only its answer was lost.
  bool was_reached() const;

  v1::Jobs::Stub& stub() { return *stub_; }

  /// One call of any service that answers at once, e.g.
  /// `call(&v1::Jobs::Stub::StopTrainingJob, request)`.
  template <typename Stub, typename Request, typename Reply>
  Reply call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
             const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Stub stub(channel_);
    Reply reply;
    check((stub.*method)(&context, request, &reply));
    return reply;
  }

  /// Throws where the status is an error.
  void check(const grpc::Status& status) const;

 private:
  std::string address_;
  bool tls_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> stub_;
};

}  // namespace musher::cli
