#include "coordinator/workers_service.h"

#include "coordinator/grpc_status.h"

namespace musher {

using grpc::ServerContext;
using GrpcStatus = grpc::Status;  // Status alone is a job's

grpc::ServerUnaryReactor* WorkersService::Join(grpc::CallbackServerContext* context,
                                               const v1::JoinRequest* request,
                                               v1::JoinReply* reply) {
  grpc::ServerUnaryReactor* const call = context->DefaultReactor();
  const auto left = context->deadline() - std::chrono::system_clock::now();
  // The answer must leave before the caller stops waiting for it.
  const auto wait =
      std::min<std::chrono::system_clock::duration>(left / 10 * 9, std::chrono::minutes(1));
  const GrpcStatus status = guarded([&] {
    // A caller that has hung up is answered all the same, which ends the call for gRPC too.
    coordinator_.join(*request, Deadline::after(wait),
                      [call, reply](std::variant<v1::JoinReply, Error> answer) {
                        call->Finish(guarded([&] {
                          if (const auto* error = std::get_if<Error>(&answer)) throw *error;
                          *reply = std::get<v1::JoinReply>(std::move(answer));
                        }));
                      });
  });
  if (!status.ok()) call->Finish(status);
  return call;
}

WorkersService::WorkersService(Coordinator& coordinator)
    : coordinator_(coordinator), long_reports_(1), reporting_("reports", [this] {
        while (true) {
          const auto popped = long_reports_.pop(Deadline::after(std::chrono::hours(1)));
          if (popped.status == QueueStatus::kClosed) return;
          if (popped.item) (*popped.item)();
        }
      }) {}

/// The server has ended by now, and with it all calls.
WorkersService::~WorkersService() {
  long_reports_.close();
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

grpc::ServerUnaryReactor* WorkersService::Report(grpc::CallbackServerContext* context,
                                                 const v1::ReportRequest* request,
                                                 v1::ReportReply* reply) {
  grpc::ServerUnaryReactor* const call = context->DefaultReactor();
  const auto answer = [this, call, request, reply] {
    call->Finish(guarded([&] { *reply = coordinator_.report(*request); }));
  };
  if (request->epochs().empty()) {
    answer();
  } else {
    long_reports_.push(std::function<void()>(answer), 0, Deadline::after({}));
  }
  return call;
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
