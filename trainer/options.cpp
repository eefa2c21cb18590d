#include "trainer/options.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include <boost/program_options.hpp>

#include "common/error.h"
#include "storage/local_cache.h"
#include "trainer/fault.h"

namespace musher {

namespace po = boost::program_options;

namespace {

/// Empty for a user without a home.
std::string default_cache() {
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? "" : std::string(home) + "/.cache/musher/data";
}

}  // namespace

std::optional<TrainerOptions> parse_trainer_options(int argc, const char* const* argv) {
  TrainerOptions options;
  options.cache = default_cache();
  std::string cache_limit = "20GiB";
  po::options_description description(
      "musher-trainer: one rank of a training job, started by mpirun.\n"
      "\n"
      "  mpirun -n 2 musher-trainer --job JOB.json\n"
      "\n"
      "runs a job by hand; `musher train` and `musher serve` start it with the options of an "
      "attempt.\n"
      "\n"
      "Options");
  auto add = description.add_options();
  add("help,h", "print this and end");
  add("job", po::value(&options.job_file)->value_name("JOB.json"),
      "the job to run by hand; rank 0 holds its coordinator");
  add("tls", po::value(&options.tls)->value_name("DIR"),
      "of a run by hand over several hosts: the certificates that `musher certs` made, at the same "
      "path on each host");
  add("advertise", po::value(&options.advertise)->value_name("HOST"),
      "likewise: the name or address by which the others reach the host of rank 0 (its host name)");
  add("coordinator", po::value(&options.coordinator)->value_name("HOST:PORT"),
      "the coordinator that started this attempt");
  add("job-name", po::value(&options.job_name)->value_name("NAME"),
      "name of the job at that coordinator");
  add("attempt", po::value(&options.attempt)->value_name("N"), "number of the attempt");
  add("token-file", po::value(&options.token_file)->value_name("FILE"),
      "holds the attempt's token");
  add("output-folder", po::value(&options.output_folder)->value_name("DIR"),
      "write what this rank prints to DIR/rank-N.stdout and .stderr");
  add("device", po::value(&options.device)->value_name("auto|cpu|gpu"),
      "where to compute (default auto: a GPU if there is one)");
  add("threads", po::value(&options.threads)->value_name("N"),
      "threads for computing (default: cores / ranks of the host)");
  add("bucket-mib", po::value(&options.bucket_mib)->value_name("MIB"),
      "size of a gradient bucket (default 4)");
  add("step-timeout", po::value(&options.step_timeout_seconds)->value_name("SECONDS"),
      "how long a step may wait for data or peers (default 600)");
  add("cache", po::value(&options.cache)->value_name("DIR"),
      "where this host keeps data of s3:// channels, between jobs too (default "
      "~/.cache/musher/data)");
  add("cache-limit", po::value(&cache_limit)->value_name("SIZE"),
      "the most that it may take, such as 500GB; what was not used for longest goes; 0: keep "
      "nothing (default 20GiB)");
  add("file-channel", po::value(&options.file_channels)->value_name("NAME"),
      "a channel with the InputMode File, brought before training; may be repeated");
  add("metrics-every", po::value(&options.metrics_every_steps)->value_name("STEPS"),
      "steps from one point of train:loss to the next (default 0: one point an epoch)");
  add("newcomer", po::value(&options.newcomer)->value_name("RANK"),
      "of a rank that another one starts beside training: its number");
  add("gpu", po::value(&options.gpu)->value_name("N"), "of a newcomer: the GPU to use");
  add("inject-fault", po::value(&options.faults)->value_name("MEMBER:POINT:STEP[:HOW]"),
      "of tests: die or hang there; may be repeated");
  try {
    po::variables_map map;
    po::store(po::command_line_parser(argc, argv).options(description).run(), map);
    po::notify(map);
    if (map.count("help") != 0) {
      std::cout << description;
      return std::nullopt;
    }
  } catch (const po::error& error) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(error.what()) + "; see musher-trainer --help");
  }
  if (options.job_file.empty() == options.coordinator.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "give either --job, or --coordinator with --job-name and --token-file");
  }
  if (options.job_file.empty() && !(options.tls.empty() && options.advertise.empty())) {
    throw Error(ErrorCode::kInvalidArgument,
                "--tls and --advertise are for a run by hand, with --job");
  }
  if (options.bucket_mib < 1)
    throw Error(ErrorCode::kInvalidArgument, "--bucket-mib must be at least 1");
  if (options.metrics_every_steps < 0)
    throw Error(ErrorCode::kInvalidArgument, "--metrics-every must be at least 0");
  if (options.device != "auto" && options.device != "cpu" && options.device != "gpu") {
    throw Error(ErrorCode::kInvalidArgument,
                "--device must be auto, cpu or gpu, not \"" + options.device + "\"");
  }
  options.cache_limit = parse_bytes(cache_limit, "--cache-limit");
  for (const std::string& fault : options.faults) parse_fault(fault);
  options.program = std::filesystem::read_symlink("/proc/self/exe").string();
  return options;
}

}  // namespace musher
