#include "monitoring/process_usage.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;

/// Of /proc/self/stat, counted as in proc(5): 1 is the pid.
struct Stat {
  double user_ticks = 0, system_ticks = 0;  // 14, 15
  double threads = 0;                       // 20
  double start_ticks = 0;                   // 22, since boot
  double virtual_bytes = 0;                 // 23
  double resident_pages = 0;                // 24
};

std::optional<Stat> read_stat() {
  std::ifstream file("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::size_t name_end = text.rfind(')');  // the name may hold anything
  if (name_end == text.npos) return std::nullopt;
  std::istringstream rest(text.substr(name_end + 1));
  std::string state;
  rest >> state;
  double fields[53] = {};
  for (int i = 4; i <= 24; ++i) rest >> fields[i];
  if (!rest) return std::nullopt;
  return Stat{fields[14], fields[15], fields[20], fields[22], fields[23], fields[24]};
}

/// Seconds since the epoch.
std::optional<double> boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::stod(line.substr(6));
  }
  return std::nullopt;
}

}  // namespace

void add_process_usage(MetricsPage& page) {
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (const auto stat = read_stat()) {
    page.counter("process_cpu_seconds_total",
                 "User and system time; SageMaker's CPUUtilization is its rate",
                 (stat->user_ticks + stat->system_ticks) / ticks);
    page.gauge("process_resident_memory_bytes",
               "Memory in use; SageMaker's MemoryUtilization, in bytes",
               stat->resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE)));
    page.gauge("process_virtual_memory_bytes", "Address space in use", stat->virtual_bytes);
    page.gauge("process_threads", "Threads of the process", stat->threads);
    if (const auto boot = boot_time()) {
      page.gauge("process_start_time_seconds", "When the process began, since the epoch",
                 *boot + stat->start_ticks / ticks);
    }
  }
  std::error_code error;
  const fs::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) {
    const auto open = std::distance(fs::begin(descriptors), fs::end(descriptors));
    page.gauge("process_open_fds", "Open files and sockets", static_cast<double>(open));
  }
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    page.gauge("process_max_fds", "How many may be open", static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace musher
