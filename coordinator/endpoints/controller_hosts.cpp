// Instances on other hosts: how they are started, told of new files, ended, and what is done about
// those that a host may still have.

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <signal.h>

#include "common/checksum.h"
#include "common/error.h"
#include "coordinator/endpoints/controller.h"
#include "coordinator/endpoints/instance_process.h"
#include "coordinator/endpoints/remote_instance.h"
#include "coordinator/host_agent.h"
#include "coordinator/lifecycle.h"
#include "coordinator/random_token.h"
#include "rpc/tls.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;
using nlohmann::json;

constexpr std::int64_t kFilesMs = 5'000;      // between two looks at what hosts were given
constexpr std::int64_t kAskAgainMs = 60'000;  // a host that did not answer
constexpr auto kCleanTime = std::chrono::seconds(10);

std::int64_t now_ms() {
  return wall_now().time_since_epoch().count();
}

}  // namespace

/// Whether its HAProxy has to be ready for instances on other hosts.
bool EndpointController::uses_hosts(const v1::EndpointRecord& record) const {
  if (options_.tls.empty()) return false;
  return !options_.hostfile.empty() || std::ranges::any_of(record.instances(), is_elsewhere);
}

/// Of the endpoint, for as long as it is there.
std::string EndpointController::token() {
  if (!token_.empty()) return token_;
  const std::filesystem::path file = folder_ / "token";
  if (!std::filesystem::exists(file)) write_private_file(file, random_token() + "\n");
  return token_ = read_private_line(file, "the token");
}

/// The same for each coordinator of this state, and no other's.
std::filesystem::path EndpointController::folder_on_host(int instance) {
  const std::string text = fmt::format("instance {} of {}", instance, token());
  return options_.scratch / ("musher-" + hex64(hash64(text)));
}

std::filesystem::path EndpointController::control_of(int instance) const {
  return folder_ / (instance_name(instance) + ".control");
}

Process EndpointController::start_elsewhere(const Instance& instance,
                                            const v1::EndpointSettings& settings) {
  const json files = host_files(token(), options_.tls, options_.access, settings.keys());
  json order = order_for(instance, settings);
  order.update(files);
  told_[instance.number()] = hash64(files.dump());
  return start_on_host(options_.access, instance.host(), order, control_of(instance.number()),
                       log_of(instance.number()));
}

/// All but the files.
json EndpointController::order_for(const Instance& instance, const v1::EndpointSettings& settings) {
  const std::filesystem::path folder = folder_on_host(instance.number());
  const int hosts = std::max(1, static_cast<int>(hosts_.hosts().size()));
  const int on_each = (settings.max_capacity() + hosts - 1) / hosts;
  std::map<std::string, std::string> environment = options_.access.environment;
  if (!options_.access.store_credentials.empty())
    environment["AWS_SHARED_CREDENTIALS_FILE"] = folder / "credentials";
  return {{"folder", folder.string()},
          {"argv", host_instance_argv(options_.server, name_, settings)},
          {"share", has_threads(settings) ? 0 : on_each},
          {"environment", environment}};
}

void EndpointController::end_instance(const Instance& instance, const Process& process,
                                      bool at_once) {
  if (!is_elsewhere(instance)) return process.signal(at_once ? SIGKILL : SIGTERM);
  if (at_once || !tell_host(control_of(instance.number()), json::object({{"do", "stop"}})))
    process.signal(SIGKILL);  // the host ends what it has when the connection ends
}

/// `watched`: its process was there until now.
void EndpointController::see_end(v1::EndpointRecord& record, const Instance& instance, bool watched,
                                 InstanceSight& sight) {
  const int number = instance.number();
  const std::string log = tail_of(log_of(number));
  const auto reason = not_started_.extract(number);
  sight.end = reason ? reason.mapped() : last_words(log);
  if (!is_elsewhere(instance)) return;
  told_.erase(number);
  std::error_code ignored;
  std::filesystem::remove(control_of(number), ignored);
  if (reason) return;
  const HostEnd end = end_on_host(log);
  sight.end = end.words;
  if (end.said) return;
  v1::InstanceLeftover& leftover = *record.add_leftovers();
  leftover.set_host(instance.host());
  leftover.set_folder(folder_on_host(number));
  save(record);
  // Where it was ended from here, or while nobody watched, that says nothing of its host.
  if (watched && instance.state() != Instance::Stopping)
    hosts_.lose(instance.host(), end.words, now_ms());
}

/// Certificates are renewed and access keys come and go while instances run.
void EndpointController::renew_files(const v1::EndpointRecord& record) {
  const std::int64_t now = now_ms();
  if (now - told_ms_ < kFilesMs) return;
  told_ms_ = now;
  for (const Instance& instance : record.instances()) {
    const auto process = processes_.find(instance.number());
    if (!is_elsewhere(instance) || process == processes_.end()) continue;
    const json files =
        host_files(token(), options_.tls, options_.access, settings_of(record, instance).keys());
    const std::uint64_t hash = hash64(files.dump());
    if (std::exchange(told_[instance.number()], hash) == hash) continue;
    if (!tell_host(control_of(instance.number()), files)) process->second.signal(SIGKILL);
  }
}

/// Has hosts end what they may still have, in a thread: one may not answer.
void EndpointController::clean_hosts(v1::EndpointRecord& record) {
  take_cleaned(record);
  const std::int64_t now = now_ms();
  auto cleaning = std::make_shared<Cleaning>();
  std::vector<std::string> hosts;
  std::vector<json> requests;
  for (const v1::InstanceLeftover& leftover : record.leftovers()) {
    if (leftover.not_before_ms() > now) continue;
    cleaning->leftovers.push_back(leftover);
    hosts.push_back(leftover.host());
    requests.push_back({{"do", "end"}, {"folder", leftover.folder()}});
  }
  if (cleaning_ || hosts.empty()) return;
  cleaning_ = cleaning;
  cleaner_ = Thread("clean", [cleaning, hosts, requests, access = options_.access] {
    cleaning->answers = ask_hosts(access, hosts, requests, Deadline::after(kCleanTime));
    cleaning->done = true;
  });
}

void EndpointController::take_cleaned(v1::EndpointRecord& record) {
  if (!cleaning_ || !cleaning_->done) return;
  const auto cleaning = std::exchange(cleaning_, nullptr);
  const std::int64_t now = now_ms();
  auto& all = *record.mutable_leftovers();
  for (std::size_t i = 0; i < cleaning->leftovers.size(); ++i) {
    const HostAnswer& answer = cleaning->answers[i];
    const std::string& folder = cleaning->leftovers[i].folder();
    const auto found = std::ranges::find(all, folder, &v1::InstanceLeftover::folder);
    if (found == all.end()) continue;
    if (answer.ok()) {
      all.erase(found);
      continue;
    }
    hosts_.lose(answer.host, answer.error, now);
    found->set_not_before_ms(now + kAskAgainMs);
    if (record.status() != v1::EndpointStatus::Deleting) continue;
    logger_->warn("endpoint {}: host {} does not answer, {}; there may be {} on it still", name_,
                  answer.host, answer.error, folder);
    all.erase(found);
  }
  save(record);
}

}  // namespace musher
