#include "coordinator/endpoints/instance_process.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include <fmt/format.h>
#include <poll.h>

#include "coordinator/host_instance.h"

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

/// `2026-11-23T12:34:56.789Z info message`, as Musher's programs log.
bool has_time(std::string_view line) {
  const std::size_t space = line.find(' ');
  return space != line.npos && space > 20 && line[4] == '-' && line[space - 1] == 'Z';
}

std::string_view without_time(std::string_view line) {
  return has_time(line) ? line.substr(line.find(' ') + 1) : line;
}

/// The last line of `log`, which is then without it. Absent: there is no line that says something.
std::optional<std::string_view> take_last_line(std::string_view& log) {
  const std::size_t end = log.find_last_not_of("\r\n ");
  if (end == log.npos) return std::nullopt;
  const std::size_t newline = log.rfind('\n', end);
  const std::size_t begin = newline == log.npos ? 0 : newline + 1;
  const std::string_view line = log.substr(begin, end + 1 - begin);
  log = log.substr(0, begin);
  return line;
}

}  // namespace

bool has_threads(const v1::EndpointSettings& settings) {
  return has_option(settings, "threads");
}

std::vector<std::string> instance_argv(const std::string& program, const std::string& endpoint_name,
                                       const v1::EndpointSettings& settings, int cores) {
  auto argv = host_instance_argv(program, endpoint_name, settings);
  if (!has_threads(settings))
    argv.push_back(fmt::format("--threads={}", std::max(1, cores / settings.max_capacity())));
  if (!settings.keys().empty()) argv.insert(argv.end(), {"--keys", settings.keys()});
  return argv;
}

std::vector<std::string> host_instance_argv(const std::string& program,
                                            const std::string& endpoint_name,
                                            const v1::EndpointSettings& settings) {
  std::vector<std::string> argv = {program, "--model", settings.model(), "--port", "0"};
  for (const std::string& option : settings.server_options()) argv.push_back("--" + option);
  if (!settings.keys().empty())
    argv.insert(argv.end(), {"--endpoint", endpoint_name, "--region", settings.region()});
  return argv;
}

std::optional<ListeningAt> listening_at(std::string_view log) {
  for (std::size_t at = log.find(kListening); at != log.npos; at = log.find(kListening, at + 1)) {
    const std::size_t begin = at + kListening.size();
    const std::size_t end = log.find('\n', begin);
    if (end == log.npos) return std::nullopt;  // it is still being written
    const std::string_view line = log.substr(begin, end - begin);
    const std::size_t colon = line.rfind(':');
    if (colon == line.npos) continue;
    const char* last = line.data() + line.size();
    int port = 0;
    const auto [rest, error] = std::from_chars(line.data() + colon + 1, last, port);
    if (error == std::errc() && rest == last && port > 0)
      return ListeningAt{std::string(line.substr(0, colon)), port};
  }
  return std::nullopt;
}

std::string last_words(std::string_view log) {
  while (const auto line = take_last_line(log)) {
    const std::string_view words = without_time(*line);
    if (!words.empty()) return std::string(words.substr(0, kLongestWords));
  }
  return "";
}

HostEnd end_on_host(std::string_view log) {
  const auto line = take_last_line(log);
  if (line && line->starts_with(kInstanceOver)) {
    const std::string how(line->substr(kInstanceOver.size()));
    const std::string words = last_words(log);
    return {true, words.empty() ? how : fmt::format("{}: {}", how, words)};
  }
  // What the instance itself said last is not the reason; what ssh said is.
  const bool of_ssh = line && !has_time(*line);
  return {false, "the connection to the host ended" +
                     (of_ssh ? fmt::format(": {}", line->substr(0, kLongestWords)) : "")};
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
