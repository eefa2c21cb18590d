#include "launch/mpirun.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include <unistd.h>

#include "common/error.h"
#include "common/loopback.h"

namespace musher {

int threads_per_rank(int cores, int ranks_per_host) {
  return std::max(1, cores / std::max(1, ranks_per_host));
}

std::string hostfile_text(const std::vector<std::pair<std::string, int>>& hosts) {
  std::string text;
  for (const auto& [host, slots] : hosts) text += host + " slots=" + std::to_string(slots) + "\n";
  return text;
}

std::vector<std::pair<std::string, int>> parse_hostfile(const std::string& text) {
  std::vector<std::pair<std::string, int>> hosts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string host;
    if (!(words >> host)) continue;
    int slots = 1;
    for (std::string word; words >> word;) {
      char rest = 0;
      if (std::sscanf(word.c_str(), "slots=%d%c", &slots, &rest) != 1 || slots < 0) {
        throw Error(ErrorCode::kInvalidArgument,
                    "a hostfile's line must be `HOST slots=N`, not \"" + line + "\"");
      }
    }
    hosts.emplace_back(host, slots);
  }
  return hosts;
}

std::string this_machine() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

bool is_this_machine(const std::string& host) {
  return is_loopback(host) || host == this_machine();
}

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

/// How mpirun reaches other hosts, and ranks each other.
void add_hosts(const MpirunOptions& options, std::vector<std::string>& argv) {
  auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  add({"--prefix", options.prefix});
  if (options.ssh.empty()) {
    // Named, so that an mpirun that does not find the allocation says so and starts nothing.
    add({"--prtemca", "ras", "slurm", "--prtemca", "plm", "slurm"});
  } else {
    add({"--prtemca", "plm_ssh_agent", options.ssh});
  }
  // The daemons' words, such as how a rank ended, come back through ssh.
  add({"--leave-session-attached"});
  // A host that is gone without a word is noticed in about ten seconds, not in ten minutes.
  add({"--prtemca", "oob_tcp_keepalive_time", "4"});
  add({"--prtemca", "oob_tcp_keepalive_intvl", "2"});
  add({"--prtemca", "oob_tcp_keepalive_probes", "3"});
  if (!options.networks.empty()) {
    const std::string networks = joined(options.networks);
    add({"--prtemca", "prte_if_include", networks, "--mca", "btl_tcp_if_include", networks});
  }
  for (const auto& [name, value] : options.exported) add({"-x", name});
}

}  // namespace

std::vector<std::string> mpirun_argv(const MpirunOptions& options) {
  std::vector<std::string> argv = {options.mpirun, "--with-ft", "ulfm"};
  auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  // --with-ft makes the death of a rank that mpirun started an error code; these do so for ranks
  // that were started later, too.
  add({"--prtemca", "state_base_recoverable", "1", "--prtemca", "state_base_continuous", "1"});
  add({"--prtemca", "prte_tmpdir_base", options.session_folder});
  if (options.as_root) add({"--allow-run-as-root"});
  if (!options.hostfile.empty()) add({"--hostfile", options.hostfile});
  const bool all_here = options.prefix.empty() && options.hostfile.empty();
  if (all_here || options.ranks_per_host > options.cores) add({"--oversubscribe"});
  if (!options.prefix.empty()) add_hosts(options, argv);
  // Ranks compute with several threads; the kernel places those better than a fixed core per rank.
  add({"--bind-to", "none"});
  add({"--output", "tag"});
  // The only way in which mpirun in ULFM mode tells how a rank ended.
  add({"--prtemca", "odls_base_verbose", "5"});
  for (const auto& [name, value] : options.environment) add({"-x", name});
  add({"-n", std::to_string(options.ranks), options.trainer});
  add({"--coordinator", options.coordinator, "--job-name", options.job});
  add({"--attempt", std::to_string(options.attempt), "--token-file", options.token_file});
  if (!options.output_folder.empty()) add({"--output-folder", options.output_folder});
  add({"--threads", std::to_string(threads_per_rank(options.cores, options.ranks_per_host))});
  argv.insert(argv.end(), options.trainer_arguments.begin(), options.trainer_arguments.end());
  return argv;
}

}  // namespace musher
