#include "coordinator/jobs_service.h"

#include <google/protobuf/util/message_differencer.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/grpc_status.h"
#include "coordinator/job_log.h"

namespace musher {

using grpc::ServerContext;
using GrpcStatus = grpc::Status;  // Status alone is a job's

namespace {

/// gRPC's synchronous server does not wake a handler whose caller has gone: look now and then.
constexpr auto kLookForCaller = std::chrono::milliseconds(500);

v1::LogChunk chunk_of(const LogPage& page) {
  v1::LogChunk chunk;
  chunk.set_next_offset(page.next_offset);
  for (const LogEntry& entry : page.entries) {
    v1::LogLine* line = chunk.add_lines();
    *line->mutable_time() =
        google::protobuf::util::TimeUtil::MillisecondsToTimestamp(entry.time_ms);
    line->set_rank(entry.rank);
    line->set_text(entry.text);
  }
  return chunk;
}

}  // namespace

GrpcStatus JobsService::CreateTrainingJob(ServerContext*,
                                          const v1::CreateTrainingJobRequest* request,
                                          v1::CreateTrainingJobResponse* reply) {
  return guarded([&] {
    coordinator_.create(*request);
    reply->set_training_job_arn(job_arn(request->training_job_name()));
  });
}

GrpcStatus JobsService::SubmitTrainingJob(ServerContext*,
                                          const v1::SubmitTrainingJobRequest* request,
                                          v1::CreateTrainingJobResponse* reply) {
  return guarded([&] {
    Submission submission;
    submission.client_token = request->client_token();
    submission.submitter = request->submitter();
    submission.priority = request->priority();
    reply->set_training_job_arn(job_arn(coordinator_.create(request->job(), submission)));
  });
}

GrpcStatus JobsService::DescribeTrainingJob(ServerContext*,
                                            const v1::DescribeTrainingJobRequest* request,
                                            v1::DescribeTrainingJobResponse* reply) {
  return guarded([&] { *reply = coordinator_.describe(request->training_job_name()); });
}

GrpcStatus JobsService::ListTrainingJobs(ServerContext*, const v1::ListTrainingJobsRequest* request,
                                         v1::ListTrainingJobsResponse* reply) {
  return guarded([&] { *reply = coordinator_.list(*request); });
}

GrpcStatus JobsService::StopTrainingJob(ServerContext*, const v1::StopTrainingJobRequest* request,
                                        v1::StopTrainingJobResponse*) {
  return guarded([&] { coordinator_.stop(request->training_job_name()); });
}

GrpcStatus JobsService::ResizeTrainingJob(ServerContext*,
                                          const v1::ResizeTrainingJobRequest* request,
                                          v1::ResizeTrainingJobResponse*) {
  return guarded([&] { coordinator_.resize(request->training_job_name(), request->ranks()); });
}

GrpcStatus JobsService::DeleteTrainingJob(ServerContext*,
                                          const v1::DeleteTrainingJobRequest* request,
                                          v1::DeleteTrainingJobResponse*) {
  return guarded([&] { coordinator_.remove(request->training_job_name()); });
}

GrpcStatus JobsService::Queue(ServerContext*, const v1::QueueRequest*, v1::QueueReply* reply) {
  return guarded([&] { *reply = coordinator_.queue(); });
}

GrpcStatus JobsService::Watch(ServerContext* context, const v1::WatchRequest* request,
                              grpc::ServerWriter<v1::JobProgress>* writer) {
  return guarded([&] {
    std::size_t notices = 0;
    v1::JobProgress last;
    for (bool first = true; !context->IsCancelled(); first = false) {
      const std::uint64_t version = coordinator_.version();
      v1::JobProgress progress = coordinator_.progress(request->training_job_name(), notices);
      notices += static_cast<std::size_t>(progress.notices_size());
      const bool changed =
          first || !google::protobuf::util::MessageDifferencer::Equals(progress, last);
      if (changed && !writer->Write(progress)) return;
      if (progress.over() || request->once()) return;
      progress.clear_notices();
      last = std::move(progress);
      const Deadline pause = Deadline::after(kLookForCaller);
      if (coordinator_.wait_for_change(version, pause) == version && !pause.expired()) {
        throw Error(ErrorCode::kUnavailable, "the coordinator ends");
      }
    }
  });
}

GrpcStatus JobsService::ReportTrainingJob(ServerContext*,
                                          const v1::ReportTrainingJobRequest* request,
                                          v1::ReportTrainingJobResponse* reply) {
  return guarded([&] { reply->set_html(coordinator_.report(request->training_job_name())); });
}

GrpcStatus JobsService::Metrics(ServerContext*, const v1::MetricsRequest* request,
                                grpc::ServerWriter<v1::MetricsChunk>* writer) {
  return guarded([&] {
    coordinator_.metrics(request->training_job_name(), request->metric_name(),
                         [&](const v1::MetricsChunk& chunk) { return writer->Write(chunk); });
  });
}

GrpcStatus JobsService::Logs(ServerContext* context, const v1::LogsRequest* request,
                             grpc::ServerWriter<v1::LogChunk>* writer) {
  return guarded([&] {
    const std::string& name = request->training_job_name();
    const auto file = coordinator_.log_file(name);
    const auto rank = request->has_rank() ? std::optional<int>(request->rank()) : std::nullopt;
    std::uint64_t offset = request->offset();
    while (!context->IsCancelled()) {
      // The state is looked at before the log, whose last line is written before a job is over.
      const std::uint64_t version = coordinator_.version();
      const bool over = !request->follow() || coordinator_.progress(name).over();
      for (;;) {
        const LogPage page = read_log(file, offset, rank);
        if (page.next_offset == offset) break;
        offset = page.next_offset;
        if (!writer->Write(chunk_of(page))) return;
      }
      if (over) return;
      const Deadline pause = Deadline::after(kLookForCaller);
      if (coordinator_.wait_for_change(version, pause) == version && !pause.expired()) {
        throw Error(ErrorCode::kUnavailable, "the coordinator ends");
      }
    }
  });
}

}  // namespace musher
