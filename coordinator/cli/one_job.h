#pragma once

#include "coordinator/cli/command.h"
#include "coordinator/cli/connection.h"

namespace musher::cli {

/// The job that a command is about, and where its coordinator is.
struct OneJob {
  std::string name;
  CoordinatorAddress address;

  void add_to(Options& options) {
    options.positional("JOB", &name);
    options.add_coordinator(&address);
  }
};

/// A whole command: one call about one job, answered by nothing but success.
template <typename Request, typename Reply>
int call_about_one_job(const Command& command, const std::vector<std::string>& words,
                       grpc::Status (v1::Jobs::Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Reply*)) {
  OneJob job;
  Options options(command);
  job.add_to(options);
  if (!options.parse(words)) return kOk;
  Request request;
  request.set_training_job_name(job.name);
  Connection(job.address).call(method, request);
  return kOk;
}

}  // namespace musher::cli
