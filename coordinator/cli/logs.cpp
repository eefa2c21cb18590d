// musher logs

#include <iostream>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

void print(const v1::LogLine& line, bool with_rank) {
  std::cout << google::protobuf::util::TimeUtil::ToString(line.time()) << ' ';
  if (with_rank) std::cout << (line.rank() < 0 ? "-" : std::to_string(line.rank())) << ' ';
  std::cout << line.text() << '\n';
}

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  bool follow = false;
  std::optional<int> rank;
  std::uint64_t offset = 0;
  Options options(command);
  options.add("follow,f", &follow, "go on until the job is over; Ctrl-C leaves it running");
  options.add("rank", &rank, "N", "only this rank's lines; -1: the coordinator's and mpirun's");
  options.add("offset", &offset, "BYTES", "begin here in the log instead of at its beginning");
  job.add_to(options);
  if (!options.parse(words)) return kOk;

  Connection connection(job.address);
  grpc::ClientContext context;
  v1::LogsRequest request;
  request.set_training_job_name(job.name);
  request.set_follow(follow);
  request.set_offset(offset);
  if (rank) request.set_rank(*rank);
  const auto stream = connection.stub().Logs(&context, request);
  v1::LogChunk chunk;
  while (stream->Read(&chunk)) {
    for (const auto& line : chunk.lines()) print(line, !rank);
    std::cout.flush();
  }
  connection.check(stream->Finish());
  return kOk;
}

}  // namespace

const Command kLogs = {"logs", "JOB", "Print a job's log: time, rank (- is the coordinator), text.",
                       run};

}  // namespace musher::cli
