#include "coordinator/cli/follow.h"

#include <iostream>

#include <unistd.h>

#include "common/deadline.h"
#include "common/error.h"
#include "coordinator/grpc_status.h"
#include "coordinator/progress_printer.h"
#include "job/request.h"

namespace musher::cli {

namespace {

constexpr auto kPatience = std::chrono::seconds(30);

/// Reads one stream to its end; true when the job is over.
bool read_stream(Connection& connection, const std::string& name, ProgressPrinter& printer,
                 int& notices, v1::JobProgress& last, grpc::Status& status) {
  grpc::ClientContext context;
  v1::WatchRequest request;
  request.set_training_job_name(name);
  const auto stream = connection.stub().Watch(&context, request);
  v1::JobProgress progress;
  bool first = true;
  while (stream->Read(&progress)) {
    if (std::exchange(first, false)) {
      // A new stream begins with all notices; those that were shown are not shown again.
      const int seen = std::min(notices, progress.notices_size());
      progress.mutable_notices()->DeleteSubrange(0, seen);
    }
    notices += progress.notices_size();
    printer.update(progress);
    last = progress;
  }
  status = stream->Finish();
  return status.ok() && last.over();
}

}  // namespace

v1::JobProgress follow(Connection& connection, const std::string& name, std::FILE* out) {
  ProgressPrinter printer(out, ::isatty(::fileno(out)) != 0);
  v1::JobProgress last;
  int notices = 0;
  grpc::Status status;
  bool reached = false;
  Deadline patience = Deadline::after(kPatience);
  while (!read_stream(connection, name, printer, notices, last, status)) {
    const bool away = !status.ok() && retry_helps(from_grpc(status.error_code()));
    reached |= !last.job().training_job_name().empty();
    if (!away || !reached || patience.expired()) {
      connection.check(status);
      throw Error(ErrorCode::kUnavailable, "the coordinator ended the watch of job " + name);
    }
    ::usleep(200'000);  // between two tries of a connection that was refused
  }
  return last;
}

int conclude(const v1::JobProgress& last, bool json, bool artifact) {
  const auto& job = last.job();
  if (json) std::cout << to_json(job).dump(2) << std::endl;
  std::string summary = summary_text(job);
  std::cerr << summary << std::endl;
  const std::string& uri = job.model_artifacts().s3_model_artifacts();
  if (!json && artifact && !uri.empty()) std::cout << uri << std::endl;
  return exit_code_of(job.training_job_status());
}

}  // namespace musher::cli
