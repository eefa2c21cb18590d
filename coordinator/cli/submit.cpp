// musher submit

#include <iostream>

#include <pwd.h>
#include <unistd.h>

#include "common/deadline.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/job_file.h"
#include "coordinator/random_token.h"

namespace musher::cli {

namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // for an answer that was cut off

std::string own_name() {
  const passwd* user = ::getpwuid(::geteuid());
  return user != nullptr ? user->pw_name : std::to_string(::geteuid());
}

/// The job's name. A call whose answer was lost is made again, with the same token, so that there
/// is one job whether or not the first one arrived.
std::string submit(Connection& connection, const v1::SubmitTrainingJobRequest& request) {
  const Deadline patience = Deadline::after(kPatience);
  for (bool reached = false;;) {
    try {
      const std::string arn =
          connection.call(&v1::Jobs::Stub::SubmitTrainingJob, request).training_job_arn();
      return arn.substr(arn.rfind('/') + 1);
    } catch (const Error& error) {
      reached |= connection.was_reached();
      if (!retry_helps(error.code()) || !reached || patience.expired()) throw;
    }
    ::usleep(200'000);  // between two tries of a connection that was refused
  }
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string path;
  CoordinatorAddress address;
  std::string token;
  std::string submitter = own_name();
  int priority = 0;
  bool wait = false;
  bool json = false;
  Options options(command);
  options.positional("JOB.json", &path);
  options.add("wait", &wait, "wait until the job is over; the exit code is the job's");
  options.add("json", &json, "with --wait: the job's description is all that is on stdout");
  options.add(
      "client-token", &token, "TEXT",
      "name this submission, so that the command may be repeated: with the same token there "
      "is one job, whose name is printed (a random one)");
  options.add("priority", &priority, "N", "-100 to 100; a higher one goes first (0)");
  options.add("submitter", &submitter, "NAME",
              "whom the job counts for where submitters share the slots (the user's name)");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;

  v1::SubmitTrainingJobRequest request;
  const JobFile file = read_job_file(path, std::nullopt);
  print_notices(file.notices);
  *request.mutable_job() = file.request;
  request.set_client_token(token.empty() ? random_token() : token);
  request.set_submitter(submitter);
  request.set_priority(priority);
  Connection connection(address);
  const std::string name = submit(connection, request);
  if (!wait || !json) std::cout << name << std::endl;
  if (!wait) return kOk;
  return conclude(follow(connection, name, stderr), json, false);
}

}  // namespace

const Command kSubmit = {"submit", "JOB.json",
                         "Put a job into the coordinator's queue, and print its name.", run};

}  // namespace musher::cli
