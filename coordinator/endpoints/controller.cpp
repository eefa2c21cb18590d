#include "coordinator/endpoints/controller.h"

#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <signal.h>

#include "common/error.h"
#include "coordinator/endpoints/instance_process.h"
#include "coordinator/endpoints/listener.h"
#include "coordinator/endpoints/settings.h"
#include "coordinator/lifecycle.h"
#include "rpc/tls.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;

constexpr auto kInterval = std::chrono::milliseconds(200);
constexpr auto kPingTime = std::chrono::seconds(1);
constexpr std::int64_t kUnhealthySeconds = 10;  // that HAProxy says it is down
constexpr std::int64_t kProxyPauseMs = 1'000;   // between two starts of a HAProxy that ends
constexpr std::int64_t kCertificateMs = 5'000;  // between two looks at the certificate

std::int64_t now_ms() {
  return wall_now().time_since_epoch().count();
}

Instance* find(v1::EndpointRecord& record, int number) {
  for (Instance& instance : *record.mutable_instances()) {
    if (instance.number() == number) return &instance;
  }
  return nullptr;
}

ProxyTarget target_of(const Instance& instance) {
  if (instance.address().empty()) return {.port = instance.port()};
  return {instance.address(), instance.port(), true};
}

bool serves(const v1::EndpointRecord& record) {
  return record.status() != v1::EndpointStatus::Deleting &&
         record.status() != v1::EndpointStatus::Failed;
}

}  // namespace

EndpointController::EndpointController(const EndpointsOptions& options, EndpointStore& store,
                                       EndpointHosts& hosts, Logger logger,
                                       v1::EndpointRecord record)
    : options_(options),
      store_(store),
      hosts_(hosts),
      logger_(std::move(logger)),
      name_(record.name()),
      folder_(options.folder / record.name()),
      proxy_(options.haproxy, folder_),
      record_(std::move(record)),
      thread_("endpoint", [this](const std::stop_token& stop) { run(stop); }) {}

v1::EndpointRecord EndpointController::record() {
  const Lock lock(mutex_);
  return record_;
}

bool EndpointController::over() {
  const Lock lock(mutex_);
  return over_;
}

void EndpointController::update(const v1::EndpointSettings& given) {
  const Lock work(work_);
  v1::EndpointRecord record = this->record();
  const v1::EndpointSettings settings = updated(record.settings(), given);
  check(name_, settings);
  check_places(settings, hosts_.hosts());
  if (settings.keys().empty() != record.settings().keys().empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "Keys: an endpoint can't go from signed requests to others or back; make another");
  }
  begin_update(record, settings, now_ms());
  save(record);
  publish(record);
}

void EndpointController::remove() {
  const Lock work(work_);
  v1::EndpointRecord record = this->record();
  if (record.status() == v1::EndpointStatus::Deleting) return;
  begin_delete(record, now_ms());
  save(record);
  publish(record);
}

void EndpointController::publish(const v1::EndpointRecord& record) {
  const Lock lock(mutex_);
  record_ = record;
  poked_ = true;
  wake_.notify_all();
}

void EndpointController::save(const v1::EndpointRecord& record) {
  store_.save(record);
}

void EndpointController::run(const std::stop_token& stop) {
  while (!stop.stop_requested() && !over()) {
    try {
      tick();
      complaint_.clear();
    } catch (const std::exception& error) {
      if (std::exchange(complaint_, error.what()) != error.what())
        logger_->error("endpoint {}: {}", name_, error.what());
    }
    Lock lock(mutex_);
    wake_.wait_for(lock, stop, kInterval, [&] { return poked_ || over_; });
    poked_ = false;
  }
}

void EndpointController::tick() {
  const Lock work(work_);
  v1::EndpointRecord record = this->record();
  std::filesystem::create_directories(folder_);
  if (!std::exchange(adopted_, true)) adopt(record);
  watch_proxy(record);
  renew_certificate(record);
  renew_files(record);
  const auto stats = proxy_stats();
  const Sights sights = look(record, stats);
  scale(record, stats);
  const std::int64_t now = now_ms();
  const EndpointPlan plan = advance(record, sights, now, {}, hosts_.places_for(name_, now));
  if (plan.changed) save(record);
  hosts_.note(record);
  for (const v1::ScalingActivity& activity : plan.activities) tell(activity);
  carry_out(record, plan);
  clean_hosts(record);
  if (stats && serves(record)) sync_proxy(record, *stats);
  if (!serves(record)) end_proxy(record);
  const bool unpublished = this->record().SerializeAsString() != record.SerializeAsString();
  if (unpublished) {  // once the proxy knows it too
    const Lock lock(mutex_);
    record_ = record;
  }
}

std::filesystem::path EndpointController::log_of(int instance) const {
  return folder_ / (instance_name(instance) + ".log");
}

/// Takes up what an earlier coordinator left.
void EndpointController::adopt(v1::EndpointRecord& record) {
  const bool proxy = record.has_proxy() && proxy_.adopt(from_proto(record.proxy()));
  for (const Instance& instance : record.instances()) {
    if (instance.has_process()) {
      auto process = Process::find(from_proto(instance.process()));
      if (process) processes_.emplace(instance.number(), std::move(*process));
    } else {
      for (const Process& left : writers_of(log_of(instance.number()))) left.signal(SIGKILL);
    }
  }
  // Of before there were other hosts: it can't be told later what it needs for them.
  if (proxy && serves(record) && uses_hosts(record) && !proxy_.has(proxy_options(record)))
    proxy_.kill();
}

void EndpointController::watch_proxy(v1::EndpointRecord& record) {
  if (!serves(record) || proxy_.alive()) return;
  const std::int64_t now = now_ms();
  if (proxy_started_ms_ != 0) {
    const std::string why = "HAProxy ended: " + proxy_.last_words();
    if (record.status() == v1::EndpointStatus::Creating) {
      fail(record, why, now);
      save(record);
      return;
    }
    if (now - proxy_started_ms_ < kProxyPauseMs) return;
    logger_->warn("endpoint {}: {}; it is started again", name_, why);
  }
  proxy_started_ms_ = now;
  counted_.reset();
  const ProxyOptions options = proxy_options(record);
  certificate_ms_ = now;
  certificate_ = options.certificate;
  *record.mutable_proxy() = to_proto(proxy_.start(options));
  save(record);
}

ProxyOptions EndpointController::proxy_options(const v1::EndpointRecord& record) {
  ProxyOptions options;
  if (!record.address().empty()) options.address = record.address();
  options.port = record.port();
  options.is_signed = !record.settings().keys().empty();
  if (has_tls(record)) {
    check_listener(record.address(), record.settings().keys(), options_.tls);
    options.certificate = tls_identity(options_.tls);
  }
  if (uses_hosts(record)) {
    options.authority = read_text_file(options_.tls / "ca.pem");
    options.token = token();
  }
  return options;
}

/// `musher certs` makes new ones before the old are over.
void EndpointController::renew_certificate(const v1::EndpointRecord& record) {
  if (!has_tls(record) || options_.tls.empty() || !proxy_.alive()) return;
  const std::int64_t now = now_ms();
  if (now - certificate_ms_ < kCertificateMs) return;
  certificate_ms_ = now;
  const std::string certificate = tls_identity(options_.tls);
  if (certificate == certificate_) return;
  proxy_.renew(certificate);
  certificate_ = certificate;
}

/// Absent while HAProxy starts, or where it does not answer.
std::optional<ProxyStats> EndpointController::proxy_stats() try {
  if (!proxy_.alive()) return std::nullopt;
  return proxy_.stats();
} catch (const Error& error) {
  if (!retry_helps(error.code())) throw;
  return std::nullopt;
}

Sights EndpointController::look(v1::EndpointRecord& record,
                                const std::optional<ProxyStats>& stats) {
  Sights sights;
  for (Instance& instance : *record.mutable_instances())
    sights[instance.number()] = look_at(record, instance, stats);
  return sights;
}

InstanceSight EndpointController::look_at(v1::EndpointRecord& record, Instance& instance,
                                          const std::optional<ProxyStats>& stats) {
  InstanceSight sight;
  const int number = instance.number();
  const auto process = processes_.find(number);
  if (process == processes_.end() || has_ended(process->second)) {
    const bool watched = process != processes_.end();
    if (watched) {
      process->second.reap();
      processes_.erase(process);
    }
    sight.alive = false;
    see_end(record, instance, watched, sight);
    return sight;
  }
  if (instance.state() == Instance::Starting) {
    if (instance.port() == 0) {
      const auto at = listening_at(head_of(log_of(number))).value_or(ListeningAt());
      instance.set_port(at.port);
      if (is_elsewhere(instance)) instance.set_address(at.address);
    }
    PingAccess access;
    if (is_elsewhere(instance)) access = {options_.tls / "ca.pem", token()};
    sight.ready = instance.port() != 0 && answers_ping(target_of(instance), access, kPingTime);
  }
  if (!stats) return sight;
  const auto server = stats->servers.find(instance_name(number));
  if (server == stats->servers.end()) {
    sight.drained = true;
    return sight;
  }
  sight.drained =
      server->second.state != ProxyServer::State::kServing && server->second.sessions == 0;
  sight.unhealthy = server->second.state == ProxyServer::State::kDown &&
                    server->second.state_seconds >= kUnhealthySeconds;
  return sight;
}

void EndpointController::carry_out(v1::EndpointRecord& record, const EndpointPlan& plan) {
  for (const InstanceStep& step : plan.steps) {
    if (step.kind == InstanceStep::Kind::kStart) {
      spawn(record, step.number);
      continue;
    }
    const auto process = processes_.find(step.number);
    const Instance* instance = find(record, step.number);
    if (process == processes_.end() || instance == nullptr) continue;
    end_instance(*instance, process->second, step.kind == InstanceStep::Kind::kKill);
  }
}

Process EndpointController::start_here(const Instance& instance,
                                       const v1::EndpointSettings& settings) {
  SpawnOptions spawn;
  spawn.argv = instance_argv(options_.server, name_, settings, options_.cores);
  spawn.output = log_of(instance.number());
  return Process::spawn(spawn);
}

void EndpointController::spawn(v1::EndpointRecord& record, int number) {
  Instance* instance = find(record, number);
  if (instance == nullptr) return;
  const v1::EndpointSettings& settings = settings_of(record, *instance);
  try {
    Process process = is_elsewhere(*instance) ? start_elsewhere(*instance, settings)
                                              : start_here(*instance, settings);
    *instance->mutable_process() = to_proto(process.identity());
    processes_.emplace(number, std::move(process));
    logger_->info("endpoint {}: {} of revision {} starts, process {}", name_,
                  instance_place(*instance), instance->revision(), instance->process().pid());
  } catch (const std::exception& error) {
    not_started_[number] = error.what();  // seen as one that ended
  }
  save(record);
}

void EndpointController::tell(v1::ScalingActivity activity) {
  *activity.mutable_start_time() =
      google::protobuf::util::TimeUtil::MillisecondsToTimestamp(now_ms());
  logger_->info("endpoint {}: {} {}{}", name_, activity.description(), activity.cause(),
                activity.not_scaled().empty() ? "" : " (" + activity.not_scaled() + ")");
  store_.add_activity(name_, activity);
}

/// What HAProxy has is made what the record says; new instances first, so that there is always one.
void EndpointController::sync_proxy(const v1::EndpointRecord& record, const ProxyStats& stats) {
  for (const Instance& instance : record.instances()) {
    const std::string name = instance_name(instance.number());
    if (instance.state() == Instance::InService && !stats.servers.contains(name))
      proxy_.add(name, target_of(instance));
  }
  for (const auto& [name, server] : stats.servers) {
    const Instance* instance = nullptr;
    for (const Instance& one : record.instances()) {
      if (instance_name(one.number()) == name) instance = &one;
    }
    if (instance == nullptr) {
      proxy_.remove(name);
    } else if (instance->state() != Instance::InService &&
               server.state == ProxyServer::State::kServing) {
      proxy_.drain(name);
    }
  }
}

/// Of an endpoint that is deleted or Failed.
void EndpointController::end_proxy(const v1::EndpointRecord& record) {
  if (proxy_.alive()) {
    if (record.instances().empty()) {
      proxy_.kill();
    } else {
      proxy_.finish();
    }
    return;
  }
  if (record.status() != v1::EndpointStatus::Deleting || !record.instances().empty() ||
      !record.leftovers().empty()) {
    return;
  }
  std::filesystem::remove_all(folder_);  // before the name is free for another
  store_.remove(name_);
  hosts_.forget(name_);
  logger_->info("endpoint {}: deleted", name_);
  const Lock lock(mutex_);
  over_ = true;
}

}  // namespace musher
