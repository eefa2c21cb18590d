#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace musher {

/// The command line of musher-trainer.
struct TrainerOptions {
  std::string job_file;     ///< a run by hand: rank 0 holds the coordinator
  std::string tls;          ///< of a run by hand over several hosts: the folder of `musher certs`
  std::string advertise;    ///< likewise: what the others call rank 0's host; empty: its host name
  std::string coordinator;  ///< otherwise HOST:PORT of the coordinator that started this attempt
  std::string job_name;
  std::uint64_t attempt = 1;
  std::string token_file;
  std::string output_folder;    ///< for what this rank prints; empty: stdout and stderr as they are
  std::string device = "auto";  ///< auto, cpu, gpu
  int threads = 0;              ///< for computing; 0: this host's cores shared among its ranks
  std::int64_t bucket_mib = 4;
  int step_timeout_seconds = 600;
  int newcomer = -1;  ///< the number of a rank that a rank started; -1: mpirun started it
  int gpu = -1;       ///< of a newcomer; -1: by its place among the ranks of the host
  std::string cache;  ///< folder of this host for data of s3://; empty: nothing is kept
  std::uint64_t cache_limit = 20ULL << 30;  ///< bytes; 0: nothing is kept
  std::vector<std::string> file_channels;   ///< InputMode File: brought before training
  std::int64_t metrics_every_steps = 0;     ///< of the train metrics; 0: one point an epoch
  std::vector<std::string> faults;          ///< of tests; see trainer/fault.h
  std::string program;                      ///< this program, for newcomers
};

/// Empty where help was asked for and printed. Throws Error(kInvalidArgument) for what does not
/// parse.
std::optional<TrainerOptions> parse_trainer_options(int argc, const char* const* argv);

}  // namespace musher
