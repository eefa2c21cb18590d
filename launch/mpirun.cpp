#include "launch/mpirun.h"

#include <algorithm>

namespace musher {

int threads_per_rank(int cores, int ranks_per_host) {
  return std::max(1, cores / std::max(1, ranks_per_host));
}

std::string hostfile_text(const std::vector<std::pair<std::string, int>>& hosts) {
  std::string text;
  for (const auto& [host, slots] : hosts) text += host + " slots=" + std::to_string(slots) + "\n";
  return text;
}

std::vector<std::string> mpirun_argv(const MpirunOptions& options) {
  std::vector<std::string> argv = {options.mpirun, "--with-ft", "ulfm"};
  auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  if (options.as_root) add({"--allow-run-as-root"});
  if (!options.hostfile.empty()) add({"--hostfile", options.hostfile});
  if (options.hostfile.empty() || options.ranks_per_host > options.cores) add({"--oversubscribe"});
  // Ranks compute with several threads; the kernel places those better than a fixed core per rank.
  add({"--bind-to", "none"});
  add({"--output", "tag"});
  // The only way in which mpirun in ULFM mode tells how a rank ended.
  add({"--prtemca", "odls_base_verbose", "5"});
  for (const auto& [name, value] : options.environment) add({"-x", name});
  add({"-n", std::to_string(options.ranks), options.trainer});
  add({"--coordinator", options.coordinator, "--job-name", options.job});
  add({"--attempt", std::to_string(options.attempt), "--token-file", options.token_file});
  add({"--threads", std::to_string(threads_per_rank(options.cores, options.ranks_per_host))});
  argv.insert(argv.end(), options.trainer_arguments.begin(), options.trainer_arguments.end());
  return argv;
}

}  // namespace musher
