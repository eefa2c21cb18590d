#include "launch/slurm.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <initializer_list>
#include <sstream>
#include <string_view>

#include "common/error.h"
#include "launch/shell.h"

namespace musher {

namespace {

using std::chrono::seconds;

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

void check_word(const char* option, const std::string& value) {
  const bool plain =
      std::all_of(value.begin(), value.end(), [](unsigned char c) { return c > ' ' && c != 0x7F; });
  if (plain) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string(option) + " \"" + value + "\" must have no blanks");
}

/// `[TYPE:]N`
bool is_gpus(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto count = number(colon == text.npos ? text : text.substr(colon + 1));
  return count && *count > 0 && colon != 0;
}

std::string program(const SlurmOptions& options, const char* name) {
  return options.commands + "/" + name;
}

/// `[days-][[hours:]minutes:]seconds`, as squeue writes a time; absent for its other words.
std::optional<seconds> parse_time(std::string_view text) {
  std::int64_t total = 0;
  if (const std::size_t dash = text.find('-'); dash != text.npos) {
    const auto days = number(text.substr(0, dash));
    if (!days) return std::nullopt;
    total = *days * 24;
    text.remove_prefix(dash + 1);
    const std::size_t colon = text.find(':');
    const auto hours = number(text.substr(0, colon));
    if (!hours || colon == text.npos) return std::nullopt;
    total += *hours;
    text.remove_prefix(colon + 1);
  }
  for (;;) {
    const std::size_t colon = text.find(':');
    const auto part = number(text.substr(0, colon));
    if (!part) return std::nullopt;
    total = total * 60 + *part;
    if (colon == text.npos) return seconds(total);
    text.remove_prefix(colon + 1);
  }
}

std::vector<std::string> scancel(const SlurmOptions& options, const SlurmTarget& target,
                                 std::initializer_list<std::string> more) {
  std::vector<std::string> argv = {program(options, "scancel"), "--quiet"};
  argv.insert(argv.end(), more);
  if (target.id != 0) {
    argv.push_back(std::to_string(target.id));
  } else {
    argv.insert(argv.end(), {"--me", "--name=" + target.name});
  }
  return argv;
}

}  // namespace

void check_slurm_options(const SlurmOptions& options) {
  check_word("--slurm-partition", options.partition);
  check_word("--slurm-account", options.account);
  check_word("--slurm-qos", options.qos);
  check_word("--slurm-constraint", options.constraint);
  if (!options.gpus_per_node.empty() && !is_gpus(options.gpus_per_node)) {
    throw Error(ErrorCode::kInvalidArgument, "--slurm-gpus-per-node \"" + options.gpus_per_node +
                                                 "\" must be a number or TYPE:NUMBER");
  }
  if (options.cpus_per_rank < 1) {
    throw Error(ErrorCode::kInvalidArgument, "--slurm-cpus-per-rank must be at least 1, not " +
                                                 std::to_string(options.cpus_per_rank));
  }
}

std::vector<std::string> sbatch_argv(const SlurmOptions& options, const SlurmRequest& request) {
  std::vector<std::string> argv = {program(options, "sbatch"), "--parsable"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) argv.push_back(std::string(option) + "=" + value);
  };
  add("--job-name", request.name);
  add("--partition", options.partition);
  add("--account", options.account);
  add("--qos", options.qos);
  add("--constraint", options.constraint);
  add("--gpus-per-node", options.gpus_per_node);
  add("--ntasks", std::to_string(request.ranks));
  if (request.nodes > 0) {
    add("--nodes", std::to_string(request.nodes));
    add("--ntasks-per-node", std::to_string(request.ranks / request.nodes));
  }
  add("--cpus-per-task", std::to_string(options.cpus_per_rank));
  add("--time", std::to_string((request.limit.count() + 59) / 60));
  if (request.warning.count() > 0) {
    add("--signal", "B:TERM@" + std::to_string(request.warning.count()));
  }
  // One that is taken back is submitted anew, as the job's next attempt.
  argv.emplace_back("--no-requeue");
  add("--export", "PATH,HOME");
  add("--chdir", "/");
  add("--input", "/dev/null");
  add("--output", request.folder + "/output");
  add("--open-mode", "append");
  argv.push_back(request.folder + "/batch.sh");
  return argv;
}

std::string batch_script(const std::string& musher, const std::string& folder) {
  return "#!/bin/sh\nexec " + quoted_for_shell(musher) + " slurm run " + quoted_for_shell(folder) +
         "\n";
}

std::optional<std::int64_t> parse_sbatch(const std::string& output) {
  // `ID` or `ID;CLUSTER`
  return number(std::string_view(output).substr(0, output.find_first_of(";\n")));
}

bool is_slurm_away(const std::string& error) {
  constexpr std::array kWords = {"Unable to contact slurm controller",
                                 "Socket timed out",
                                 "Zero Bytes were transmitted",
                                 "Connection refused",
                                 "temporarily unable",
                                 "temporarily unavailable",
                                 "authentication error",
                                 "Protocol authentication",
                                 "backup controller responding"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](const char* words) { return error.find(words) != error.npos; });
}

std::vector<std::string> squeue_argv(const SlurmOptions& options) {
  // The name comes last: somebody else's may have a bar in it.
  return {program(options, "squeue"), "--noheader", "--me", "--states=all",
          "--format=%i|%T|%r|%L|%N|%j"};
}

std::vector<SlurmJob> parse_squeue(const std::string& output) {
  std::vector<SlurmJob> jobs;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    std::array<std::string, 5> fields;
    std::size_t begin = 0;
    bool whole = true;
    for (std::string& field : fields) {
      const std::size_t end = line.find('|', begin);
      whole = whole && end != line.npos;
      if (!whole) break;
      field = line.substr(begin, end - begin);
      begin = end + 1;
    }
    const auto id = number(fields[0]);
    if (!whole || !id) continue;
    jobs.push_back(
        {*id, line.substr(begin), fields[1], fields[2], fields[4], parse_time(fields[3])});
  }
  return jobs;
}

std::vector<std::string> scancel_argv(const SlurmOptions& options, const SlurmTarget& target) {
  return scancel(options, target, {});
}

std::vector<std::string> scancel_term_argv(const SlurmOptions& options, const SlurmTarget& target) {
  return scancel(options, target, {"--batch", "--signal=TERM"});
}

std::vector<std::string> scancel_kill_argv(const SlurmOptions& options, const SlurmTarget& target) {
  return scancel(options, target, {"--full", "--signal=KILL"});
}

SlurmPhase phase_of(const std::string& state) {
  if (is_one_of(state, {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
                        "RESV_DEL_HOLD", "SPECIAL_EXIT"})) {
    return SlurmPhase::kWaits;
  }
  if (state == "COMPLETING") return SlurmPhase::kEnding;
  if (is_one_of(state, {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
                        "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"})) {
    return SlurmPhase::kOver;
  }
  return SlurmPhase::kRuns;
}

SlurmEnd end_of(const std::string& state) {
  if (state == "CANCELLED") return SlurmEnd::kCancelled;
  if (is_one_of(state, {"TIMEOUT", "DEADLINE"})) return SlurmEnd::kTimeLimit;
  if (is_one_of(state, {"PREEMPTED", "BOOT_FAIL", "REVOKED"}) ||
      phase_of(state) == SlurmPhase::kWaits) {
    return SlurmEnd::kTaken;
  }
  if (is_one_of(state, {"NODE_FAIL", "OUT_OF_MEMORY"})) return SlurmEnd::kFailed;
  return SlurmEnd::kBatchEnded;
}

}  // namespace musher
