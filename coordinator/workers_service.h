#pragma once

#include <functional>

#include "common/bounded_queue.h"
#include "common/thread.h"
#include "coordinator/coordinator.h"
#include "workers.grpc.pb.h"

namespace musher {

/// The ranks' door to the coordinator: unpacks, calls, converts errors. What thousands of ranks do
/// at once or all the time takes no thread of its own: Join, which waits for all of them, and
/// Report. The other calls may wait for a store, and each has a thread.
class WorkersService final : public v1::Workers::WithCallbackMethod_Join<
                                 v1::Workers::WithCallbackMethod_Report<v1::Workers::Service>> {
 public:
  explicit WorkersService(Coordinator& coordinator);
  ~WorkersService() override;

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const v1::JoinRequest* request, v1::JoinReply* reply) override;
  grpc::Status GetAssignment(grpc::ServerContext* context, const v1::AssignmentRequest* request,
                             v1::Assignment* reply) override;
  grpc::Status GetShards(grpc::ServerContext* context, const v1::ShardsRequest* request,
                         grpc::ServerWriter<v1::ShardBlock>* writer) override;
  grpc::Status Regroup(grpc::ServerContext*, const v1::RegroupRequest* request,
                       v1::RegroupReply* reply) override;
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReportRequest* request,
                                   v1::ReportReply* reply) override;
  grpc::Status ReportSlice(grpc::ServerContext* context, const v1::SliceReport* request,
                           v1::SliceReply* reply) override;
  grpc::Status Finish(grpc::ServerContext* context, const v1::FinishRequest* request,
                      v1::FinishReply* reply) override;

 private:
  Coordinator& coordinator_;
  /// Reports that end an epoch: its digest, of all samples that there are, may take seconds.
  BoundedQueue<std::function<void()>> long_reports_;
  Thread reporting_;
};

}  // namespace musher
