#include "coordinator/host_check.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

namespace musher {

namespace {

double gib(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1U << 30);
}

}  // namespace

double clock_error(const HostAnswer& answer, const Expectations& expected) {
  const auto begun = answer.reply.at("time_ms").get<std::int64_t>();
  const std::int64_t behind = expected.sent_ms - begun;
  // It may have waited for its peers in between.
  const std::int64_t ahead = answer.reply.value("answered_ms", begun) - expected.received_ms;
  if (ahead > 0) return static_cast<double>(ahead) / 1e3;
  return behind > 0 ? -static_cast<double>(behind) / 1e3 : 0;
}

std::string efa_text(const HostAnswer& answer) {
  const auto devices = answer.reply.at("efa").get<std::size_t>();
  if (devices == 0) return "none";
  return fmt::format("{}, {}", devices,
                     answer.reply.at("efa_plugin").get<bool>() ? "plugin" : "no plugin");
}

std::vector<std::string> problems_of(const HostAnswer& answer, const Expectations& expected) {
  if (!answer.ok()) return {answer.error};
  const nlohmann::json& reply = answer.reply;
  std::vector<std::string> problems;
  const auto differs = [&](const char* field, const std::string& wanted) {
    return !wanted.empty() && reply.at(field).get<std::string>() != wanted;
  };
  if (differs("libraries", expected.libraries)) {
    problems.push_back(fmt::format("its libraries are {}, not {}: run launch/setup there",
                                   reply.at("libraries").get<std::string>(), expected.libraries));
  }
  if (differs("build", expected.build)) {
    problems.push_back(fmt::format("its build of Musher ({}) is another than here",
                                   reply.at("version").get<std::string>()));
  }
  const auto memory = reply.at("memory_bytes").get<std::uint64_t>();
  if (memory < expected.memory_bytes) {
    problems.push_back(fmt::format("{:.1f} GiB of memory are free, less than {:.1f}", gib(memory),
                                   gib(expected.memory_bytes)));
  }
  const auto disk = reply.at("disk_bytes").get<std::uint64_t>();
  if (disk < expected.disk_bytes) {
    problems.push_back(fmt::format("{:.1f} GiB of disk are free, less than {:.1f}", gib(disk),
                                   gib(expected.disk_bytes)));
  }
  const double off = clock_error(answer, expected);
  if (std::abs(off) * 1e3 > static_cast<double>(expected.clock_limit.count())) {
    problems.push_back(
        fmt::format("its clock is {:.1f} s {}", std::abs(off), off > 0 ? "ahead" : "behind"));
  }
  const auto driver = reply.at("driver").get<std::string>();
  if (reply.at("gpus").get<std::size_t>() > 0 && std::atoi(driver.c_str()) < kOldestDriver) {
    problems.push_back(fmt::format("its NVIDIA driver {} is too old: LibTorch's CUDA 13 needs {}",
                                   driver.empty() ? "(unknown)" : driver, kOldestDriver));
  }
  if (reply.at("efa").get<std::size_t>() > 0 && !reply.at("efa_plugin").get<bool>()) {
    problems.emplace_back("it has EFA, but not NCCL's plugin for it (aws-ofi-nccl)");
  }
  for (const auto& one : reply.value("unreached", nlohmann::json::array())) {
    problems.push_back("it does not reach " + one.get<std::string>());
  }
  return problems;
}

}  // namespace musher
