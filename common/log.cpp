#include "common/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace musher {

Logger make_logger(spdlog::level::level_enum level, std::FILE* out) {
  using Sink = spdlog::sinks::stdout_sink_base<spdlog::details::console_mutex>;
  auto logger = std::make_shared<spdlog::logger>("musher", std::make_shared<Sink>(out));
  logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      "%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc));
  logger->set_level(level);
  return logger;
}

Logger make_silent_logger() {
  return std::make_shared<spdlog::logger>("musher",
                                          std::make_shared<spdlog::sinks::null_sink_mt>());
}

}  // namespace musher
