#pragma once

#include "coordinator/coordinator.h"
#include "workers.grpc.pb.h"

namespace musher {

/// The ranks' door to the coordinator: unpacks, calls, converts errors.
class WorkersService final : public v1::Workers::Service {
 public:
  explicit WorkersService(Coordinator& coordinator) : coordinator_(coordinator) {}

  grpc::Status Join(grpc::ServerContext* context, const v1::JoinRequest* request,
                    v1::JoinReply* reply) override;
  grpc::Status GetAssignment(grpc::ServerContext* context, const v1::AssignmentRequest* request,
                             v1::Assignment* reply) override;
  grpc::Status GetShards(grpc::ServerContext* context, const v1::ShardsRequest* request,
                         grpc::ServerWriter<v1::ShardBlock>* writer) override;
  grpc::Status Regroup(grpc::ServerContext*, const v1::RegroupRequest* request,
                       v1::RegroupReply* reply) override;
  grpc::Status Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                      v1::ReportReply* reply) override;
  grpc::Status ReportSlice(grpc::ServerContext* context, const v1::SliceReport* request,
                           v1::SliceReply* reply) override;
  grpc::Status Finish(grpc::ServerContext* context, const v1::FinishRequest* request,
                      v1::FinishReply* reply) override;

 private:
  Coordinator& coordinator_;
};

}  // namespace musher
