#include "coordinator/endpoints/instance_process.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include <fmt/format.h>
#include <poll.h>

namespace musher {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kListening = "listening on ";
constexpr std::size_t kLongestWords = 500;

bool has_option(const v1::EndpointSettings& settings, std::string_view key) {
  return std::ranges::any_of(settings.server_options(), [&](const std::string& option) {
    return option.substr(0, option.find('=')) == key;
  });
}

/// `2026-11-23T12:34:56.789Z info message` without its time.
std::string_view without_time(std::string_view line) {
  const std::size_t space = line.find(' ');
  const bool time = space != line.npos && space > 20 && line[4] == '-' && line[space - 1] == 'Z';
  return time ? line.substr(space + 1) : line;
}

}  // namespace

std::vector<std::string> instance_argv(const std::string& program, const std::string& endpoint_name,
                                       const v1::EndpointSettings& settings, int cores) {
  std::vector<std::string> argv = {program, "--model", settings.model(), "--port", "0"};
  if (!has_option(settings, "threads"))
    argv.push_back(fmt::format("--threads={}", std::max(1, cores / settings.max_capacity())));
  for (const std::string& option : settings.server_options()) argv.push_back("--" + option);
  if (!settings.keys().empty()) {
    for (const std::string& word : {std::string("--endpoint"), endpoint_name, std::string("--keys"),
                                    settings.keys(), std::string("--region"), settings.region()})
      argv.push_back(word);
  }
  return argv;
}

std::optional<int> listening_port(std::string_view log) {
  for (std::size_t at = log.find(kListening); at != log.npos; at = log.find(kListening, at + 1)) {
    const std::size_t end = log.find('\n', at);
    if (end == log.npos) return std::nullopt;  // it is still being written
    const std::string_view line = log.substr(at, end - at);
    const std::size_t colon = line.rfind(':');
    int port = 0;
    const auto [rest, error] = std::from_chars(line.data() + (colon == line.npos ? 0 : colon + 1),
                                               line.data() + line.size(), port);
    if (error == std::errc() && rest == line.data() + line.size() && port > 0) return port;
  }
  return std::nullopt;
}

std::string last_words(std::string_view log) {
  while (!log.empty()) {
    const std::size_t end = log.find_last_not_of("\r\n ");
    if (end == log.npos) return "";
    log = log.substr(0, end + 1);
    const std::size_t newline = log.rfind('\n');
    const std::string_view line = without_time(newline == log.npos ? log : log.substr(newline + 1));
    if (!line.empty()) return std::string(line.substr(0, kLongestWords));
    log = log.substr(0, newline == log.npos ? 0 : newline);
  }
  return "";
}

std::string head_of(const fs::path& file, std::size_t bytes) {
  std::ifstream in(file, std::ios::binary);
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  return text;
}

std::string tail_of(const fs::path& file, std::size_t bytes) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::size_t>(std::max<std::streamoff>(0, in.tellg()));
  std::string text(std::min(size, bytes), '\0');
  in.seekg(static_cast<std::streamoff>(size - text.size()));
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

std::vector<Process> writers_of(const fs::path& file) {
  std::vector<Process> found;
  std::error_code none;
  const fs::path wanted = fs::canonical(file, none);
  if (none) return found;
  for (const auto& entry : fs::directory_iterator("/proc", none)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    std::error_code gone;
    if (fs::read_symlink(entry.path() / "fd" / "1", gone) != wanted || gone) continue;
    const auto identity = identify(pid, "");
    auto process = identity ? Process::find(*identity) : std::nullopt;
    if (process) found.push_back(std::move(*process));
  }
  return found;
}

bool has_ended(const Process& process) {
  pollfd poll_for{process.descriptor(), POLLIN, 0};
  return ::poll(&poll_for, 1, 0) > 0;
}

v1::ProcessId to_proto(const ProcessIdentity& identity) {
  v1::ProcessId id;
  id.set_pid(identity.pid);
  id.set_start(identity.start);
  id.set_boot_id(identity.boot_id);
  return id;
}

ProcessIdentity from_proto(const v1::ProcessId& id) {
  return {static_cast<pid_t>(id.pid()), id.start(), id.boot_id()};
}

}  // namespace musher
