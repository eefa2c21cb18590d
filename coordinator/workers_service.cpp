#include "coordinator/workers_service.h"

#include "coordinator/grpc_status.h"

namespace musher {

using grpc::ServerContext;
using GrpcStatus = grpc::Status;  // Status alone is a job's

GrpcStatus WorkersService::Join(ServerContext* context, const v1::JoinRequest* request,
                                v1::JoinReply* reply) {
  return guarded([&] {
    const auto left = context->deadline() - std::chrono::system_clock::now();
    // The answer must leave before the caller stops waiting for it.
    const auto wait =
        std::min<std::chrono::system_clock::duration>(left * 9 / 10, std::chrono::minutes(1));
    *reply =
        coordinator_.join(*request, Deadline::after(wait), [&] { return context->IsCancelled(); });
  });
}

GrpcStatus WorkersService::GetAssignment(ServerContext*, const v1::AssignmentRequest* request,
                                         v1::Assignment* reply) {
  return guarded([&] { *reply = coordinator_.assignment(*request); });
}

GrpcStatus WorkersService::GetShards(ServerContext*, const v1::ShardsRequest* request,
                                     grpc::ServerWriter<v1::ShardBlock>* writer) {
  return guarded([&] {
    const auto channels = coordinator_.channels(request->id());
    if (!channels) {
      throw Error(ErrorCode::kFailedPrecondition, "stale: the coordinator has moved on");
    }
    const ChannelData* channel = channels->find(request->channel());
    if (channel == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  "GetShards.channel: the job has no channel \"" + request->channel() + "\"");
    }
    for (const std::uint32_t shard : request->shards()) {
      if (shard >= channel->manifest().shards().size()) {
        throw Error(ErrorCode::kInvalidArgument,
                    "GetShards.shards: there is no shard " + std::to_string(shard));
      }
      const auto block = channel->manifest().block(shard);
      v1::ShardBlock message;
      message.set_shard(shard);
      message.set_block(block.data(), block.size());
      if (!writer->Write(message)) return;  // the caller has gone
    }
  });
}

GrpcStatus WorkersService::Regroup(ServerContext*, const v1::RegroupRequest* request,
                                   v1::RegroupReply* reply) {
  return guarded([&] { *reply = coordinator_.regroup(*request); });
}

GrpcStatus WorkersService::Report(ServerContext*, const v1::ReportRequest* request,
                                  v1::ReportReply* reply) {
  return guarded([&] { *reply = coordinator_.report(*request); });
}

GrpcStatus WorkersService::ReportSlice(ServerContext*, const v1::SliceReport* request,
                                       v1::SliceReply* reply) {
  return guarded([&] { *reply = coordinator_.slice(*request); });
}

GrpcStatus WorkersService::Finish(ServerContext*, const v1::FinishRequest* request,
                                  v1::FinishReply* reply) {
  return guarded([&] { *reply = coordinator_.finish(*request); });
}

}  // namespace musher
