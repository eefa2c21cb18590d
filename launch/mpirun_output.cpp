#include "launch/mpirun_output.h"

#include <charconv>

#include <signal.h>
#include <string.h>

namespace musher {

namespace {

/// A number at the start of `text`, which is moved past it.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// `[vm:123] [prterun-vm-123@0,0] odls:…`: PRRTE's reports on the processes that it starts. Its
/// errors look otherwise.
bool is_chatter(std::string_view line) {
  return line.starts_with("[") && line.find("] [prterun-") != line.npos &&
         line.find("ERROR") == line.npos;
}

/// `prterun-vm-123@1,2]`: rank 2 of what mpirun started first. False where it is none, such as the
/// `@0,0` of mpirun itself.
bool take_name(std::string_view& text, RankExit& exit) {
  const std::size_t at = text.find('@');
  if (at == text.npos) return false;
  text.remove_prefix(at + 1);
  const auto job = take_number(text);
  if (!job || *job < 1 || !take(text, ",")) return false;
  const auto rank = take_number(text);
  if (!rank || !take(text, "] ")) return false;
  exit.job = *job;
  exit.rank = *rank;
  return true;
}

std::string_view after(std::string_view line, std::string_view mark) {
  const std::size_t start = line.find(mark);
  return start == line.npos ? std::string_view() : line.substr(start + mark.size());
}

/// `… odls:wait_local_proc child process [prterun-vm-123@1,2] pid 4108 terminated`
std::optional<RankExit> parse_gone(std::string_view line) {
  std::string_view rest = after(line, "odls:wait_local_proc child process [");
  RankExit exit;
  if (rest.empty() || !take_name(rest, exit) || !take(rest, "pid ")) return std::nullopt;
  const auto pid = take_number(rest);
  if (!pid || rest != " terminated") return std::nullopt;
  exit.pid = *pid;
  return exit;
}

/// `… odls:waitpid_fired child [prterun-vm-123@1,2] exit code 7`
/// `… odls:waitpid_fired child process [prterun-vm-123@1,2] terminated with signal Killed`
std::optional<RankExit> parse_exit(std::string_view line) {
  std::string_view rest = after(line, "odls:waitpid_fired child ");
  RankExit exit;
  if (rest.empty() || !take_name(rest, exit)) return std::nullopt;
  if (take(rest, "exit code ")) {
    const auto code = take_number(rest);
    if (!code) return std::nullopt;
    exit.exit_code = *code;
    return exit;
  }
  if (take(rest, "terminated with signal ")) {
    exit.signal = rest;
    return exit;
  }
  return std::nullopt;
}

}  // namespace

std::string RankExit::text() const {
  if (signal.empty()) return "exited with code " + std::to_string(exit_code);
  for (int number = 1; number < NSIG; ++number) {
    const char* description = ::sigdescr_np(number);
    if (description != nullptr && signal.starts_with(description)) {
      return "was killed by signal " + std::to_string(number) + " (" + signal + ")";
    }
  }
  return "was killed by a signal (" + signal + ")";
}

MpirunLine parse_mpirun_line(std::string_view line) {
  MpirunLine parsed;
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  std::string_view rest = line;
  if (take(rest, "[1,")) {
    const auto rank = take_number(rest);
    const bool out = rank && take(rest, "]<stdout>: ");
    if (out || (rank && take(rest, "]<stderr>: "))) {
      parsed.kind = is_chatter(rest) ? MpirunLine::Kind::kChatter : MpirunLine::Kind::kRank;
      parsed.rank = *rank;
      parsed.error = !out;
      parsed.text = rest;
      return parsed;
    }
  }
  if (is_chatter(line)) {
    parsed.kind = MpirunLine::Kind::kChatter;
    if (const auto exit = parse_exit(line)) {
      parsed.kind = MpirunLine::Kind::kExit;
      parsed.exit = *exit;
    } else if (const auto gone = parse_gone(line)) {
      parsed.kind = MpirunLine::Kind::kGone;
      parsed.exit = *gone;
    }
    return parsed;
  }
  parsed.text = line;
  return parsed;
}

}  // namespace musher
