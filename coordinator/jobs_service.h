#pragma once

#include "coordinator/coordinator.h"
#include "jobs.grpc.pb.h"

namespace musher {

/// People's door to the coordinator: unpacks, calls, converts errors.
class JobsService final : public v1::Jobs::Service {
 public:
  explicit JobsService(Coordinator& coordinator) : coordinator_(coordinator) {}

  grpc::Status CreateTrainingJob(grpc::ServerContext* context,
                                 const v1::CreateTrainingJobRequest* request,
                                 v1::CreateTrainingJobResponse* reply) override;
  grpc::Status SubmitTrainingJob(grpc::ServerContext* context,
                                 const v1::SubmitTrainingJobRequest* request,
                                 v1::CreateTrainingJobResponse* reply) override;
  grpc::Status DescribeTrainingJob(grpc::ServerContext* context,
                                   const v1::DescribeTrainingJobRequest* request,
                                   v1::DescribeTrainingJobResponse* reply) override;
  grpc::Status ListTrainingJobs(grpc::ServerContext* context,
                                const v1::ListTrainingJobsRequest* request,
                                v1::ListTrainingJobsResponse* reply) override;
  grpc::Status StopTrainingJob(grpc::ServerContext* context,
                               const v1::StopTrainingJobRequest* request,
                               v1::StopTrainingJobResponse* reply) override;
  grpc::Status ResizeTrainingJob(grpc::ServerContext* context,
                                 const v1::ResizeTrainingJobRequest* request,
                                 v1::ResizeTrainingJobResponse* reply) override;
  grpc::Status DeleteTrainingJob(grpc::ServerContext* context,
                                 const v1::DeleteTrainingJobRequest* request,
                                 v1::DeleteTrainingJobResponse* reply) override;
  grpc::Status Queue(grpc::ServerContext* context, const v1::QueueRequest* request,
                     v1::QueueReply* reply) override;
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::JobProgress>* writer) override;
  grpc::Status ReportTrainingJob(grpc::ServerContext* context,
                                 const v1::ReportTrainingJobRequest* request,
                                 v1::ReportTrainingJobResponse* reply) override;
  grpc::Status Metrics(grpc::ServerContext* context, const v1::MetricsRequest* request,
                       grpc::ServerWriter<v1::MetricsChunk>* writer) override;
  grpc::Status Logs(grpc::ServerContext* context, const v1::LogsRequest* request,
                    grpc::ServerWriter<v1::LogChunk>* writer) override;

 private:
  Coordinator& coordinator_;
};

}  // namespace musher
