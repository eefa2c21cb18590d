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

/// `… odls:waitpid_fired child [prterun-vm-123@1,2] exit code 7`
/// `… odls:waitpid_fired child process [prterun-vm-123@1,2] terminated with signal Killed`
std::optional<RankExit> parse_exit(std::string_view line) {
  const std::size_t start = line.find("odls:waitpid_fired child ");
  if (start == line.npos) return std::nullopt;
  line.remove_prefix(start + std::string_view("odls:waitpid_fired child ").size());
  take(line, "process ");
  const std::size_t at = line.find("@1,");
  if (at == line.npos) return std::nullopt;
  line.remove_prefix(at + 3);
  RankExit exit;
  const auto rank = take_number(line);
  if (!rank) return std::nullopt;
  exit.rank = *rank;
  if (take(line, "] exit code ")) {
    const auto code = take_number(line);
    if (!code) return std::nullopt;
    exit.exit_code = *code;
    return exit;
  }
  if (take(line, "] terminated with signal ")) {
    exit.signal = line;
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
    const auto exit = parse_exit(line);
    parsed.kind = exit ? MpirunLine::Kind::kExit : MpirunLine::Kind::kChatter;
    if (exit) {
      parsed.exit = *exit;
      parsed.rank = exit->rank;
    }
    return parsed;
  }
  parsed.text = line;
  return parsed;
}

}  // namespace musher
