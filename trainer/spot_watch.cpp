#include "trainer/spot_watch.h"

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <utility>

#include <nlohmann/json.hpp>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::chrono::seconds kInterval{5};  // as AWS recommends

std::string text_of(const nlohmann::json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::int64_t milliseconds_of(const std::string& time) {
  std::tm parts{};
  const char* rest = strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  return rest == nullptr ? 0 : 1000 * std::int64_t{timegm(&parts)};
}

}  // namespace

std::optional<SpotNotice> parse_instance_action(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  SpotNotice notice{text_of(json, "action"), text_of(json, "time")};
  if (notice.action.empty()) return std::nullopt;
  notice.time_ms = milliseconds_of(notice.time);
  return notice;
}

std::optional<std::string> parse_rebalance(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  std::string time = text_of(json, "noticeTime");
  return time.empty() ? std::nullopt : std::optional(std::move(time));
}

SpotWatch::SpotWatch(MetadataConfig config, SpotListener listener)
    : config_(std::move(config)),
      listener_(std::move(listener)),
      thread_("spot-watch", [this](const std::stop_token& stop) { run(stop); }) {}

void SpotWatch::run(const std::stop_token& stop) {
  MetadataService service(config_, [&stop] { return stop.stop_requested(); });
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    try {
      if (look(service)) return;
      troubled_ = false;
    } catch (const Error& error) {
      if (stop.stop_requested()) return;
      if (!std::exchange(troubled_, true)) listener_.trouble(error.what());
    }
    wake.wait_for(lock, stop, kInterval, [] { return false; });
  }
}

/// True once there is nothing more to look for.
bool SpotWatch::look(MetadataService& service) {
  if (const auto body = service.get("spot/instance-action")) {
    const auto notice = parse_instance_action(*body);
    if (!notice)
      throw Error(ErrorCode::kUnavailable, "spot/instance-action is no action: " + *body);
    listener_.interruption(*notice);
    return true;
  }
  const auto body = service.get("events/recommendations/rebalance");
  const auto time = body ? parse_rebalance(*body) : std::nullopt;
  if (time && *time != rebalance_) {
    rebalance_ = *time;
    listener_.rebalance(*time);
  }
  return false;
}

}  // namespace musher
