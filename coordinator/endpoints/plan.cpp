#include "coordinator/endpoints/plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/error.h"
#include "coordinator/endpoints/settings.h"

namespace musher {
namespace {

using Instance = v1::EndpointInstance;
using Status = v1::EndpointStatus;
using Kind = InstanceStep::Kind;

/// One call of advance().
class Advance {
 public:
  Advance(v1::EndpointRecord& record, const Sights& sights, std::int64_t now,
          const EndpointLimits& limits, const Places& places)
      : record_(record), sights_(sights), now_(now), limits_(limits), places_(places) {}

  EndpointPlan run() {
    forget_ended();
    if (record_.status() == Status::Deleting || record_.status() == Status::Failed) {
      stop_all();
    } else {
      look_at_starting();
      look_at_serving();
      take_over();
      fit(record_.revision());
      if (next_revision(record_) != 0) fit(next_revision(record_));
      settle();
    }
    end_draining();
    note_room();
    return std::move(plan_);
  }

 private:
  InstanceSight sight(const Instance& instance) const {
    const auto found = sights_.find(instance.number());
    return found == sights_.end() ? InstanceSight() : found->second;
  }

  void enter(Instance& instance, Instance::State state) {
    instance.set_state(state);
    instance.set_since_ms(now_);
    plan_.changed = true;
  }

  void stop(Instance& instance, Kind how) {
    enter(instance, Instance::Stopping);
    plan_.steps.push_back({how, instance.number()});
  }

  void tell(std::string description, std::string cause, const char* code) {
    v1::ScalingActivity activity;
    activity.set_description(std::move(description));
    activity.set_cause(std::move(cause));
    activity.set_status_code(code);
    plan_.activities.push_back(std::move(activity));
  }

  void forget_ended() {
    auto& instances = *record_.mutable_instances();
    for (int i = instances.size() - 1; i >= 0; --i) {
      const Instance instance = instances[i];
      const InstanceSight seen = sight(instance);
      if (seen.alive) continue;
      instances.DeleteSubrange(i, 1);
      plan_.changed = true;
      const std::string what = fmt::format("{} ended{}", instance_place(instance),
                                           seen.end.empty() ? std::string() : ": " + seen.end);
      if (instance.state() == Instance::Starting) {
        start_failed(instance.revision(), what + "; it had not yet answered /ping");
      } else if (instance.state() == Instance::Ready) {
        start_failed(instance.revision(), what);
      } else if (instance.state() == Instance::InService) {
        tell(fmt::format("Starting an instance in place of {}.", instance_name(instance.number())),
             what, "Successful");
      }
    }
  }

  void look_at_starting() {
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.state() != Instance::Starting) continue;
      if (sight(instance).ready) {
        const bool serves = instance.revision() == record_.revision();
        enter(instance, serves ? Instance::InService : Instance::Ready);
        record_.set_failures(0);
        record_.clear_trouble();
      } else if (now_ - instance.since_ms() >
                 static_cast<std::int64_t>(settings_of(record_, instance).startup_seconds() *
                                           1000)) {
        stop(instance, Kind::kKill);
        start_failed(
            instance.revision(),
            fmt::format("{} did not answer /ping with 200 within {:g} s", instance_place(instance),
                        settings_of(record_, instance).startup_seconds()));
      }
    }
  }

  void look_at_serving() {
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.state() != Instance::InService || !sight(instance).unhealthy) continue;
      stop(instance, Kind::kKill);
      tell(fmt::format("Starting an instance in place of {}.", instance_name(instance.number())),
           instance_place(instance) + " has stopped answering /ping", "Successful");
    }
  }

  void start_failed(int revision, const std::string& why) {
    plan_.changed = true;
    if (revision != 0 && revision == next_revision(record_)) return roll_back(why);
    if (revision != record_.revision()) return;  // of an update that was taken back already
    record_.set_failures(record_.failures() + 1);
    record_.set_trouble(why);
    const int doublings = std::min(record_.failures() - 1, 16);
    record_.set_not_before_ms(
        now_ + std::min(limits_.longest_pause_ms, limits_.first_pause_ms << doublings));
    if (record_.status() == Status::Creating && record_.failures() >= limits_.creation_attempts) {
      fail(record_, why, now_);
      tell("The endpoint can't be created.", why, "Failed");
    }
  }

  void roll_back(const std::string& why) {
    const int revision = next_revision(record_);
    tell(fmt::format("Taking back the update to {}.", record_.next().model()), why, "Failed");
    record_.set_failure_reason("the last update was taken back: " + why);
    record_.clear_next();
    record_.set_status(Status::InService);
    record_.set_modified_ms(now_);
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.revision() == revision && instance.state() != Instance::Stopping)
        stop(instance, Kind::kKill);
    }
  }

  /// All of the new at once: they are added to the proxy before the old are drained.
  void take_over() {
    const int next = next_revision(record_);
    if (next == 0 || count(record_, next, Instance::Ready) < record_.desired()) return;
    const int old = record_.revision();
    *record_.mutable_settings() = record_.next();
    record_.clear_next();
    record_.set_revision(next);
    record_.set_status(Status::InService);
    record_.set_modified_ms(now_);
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.revision() == next && instance.state() == Instance::Ready) {
        enter(instance, Instance::InService);
      } else if (instance.revision() == old) {
        retire(instance);
      }
    }
    tell(fmt::format("Serving {}.", record_.settings().model()), "UpdateEndpoint", "Successful");
  }

  void retire(Instance& instance) {
    if (instance.state() == Instance::InService) {
      enter(instance, Instance::Draining);
    } else if (instance.state() == Instance::Starting || instance.state() == Instance::Ready) {
      stop(instance, Kind::kKill);
    }
  }

  void fit(int revision) {
    int live = 0;
    int answering = 0;
    for (const Instance& instance : record_.instances()) {
      if (instance.revision() != revision || is_misplaced(places_, instance)) continue;
      const bool answers =
          instance.state() == Instance::Ready || instance.state() == Instance::InService;
      answering += answers ? 1 : 0;
      live += answers || instance.state() == Instance::Starting ? 1 : 0;
    }
    while (live < record_.desired() && now_ >= record_.not_before_ms() && start(revision)) ++live;
    for (; live > record_.desired(); --live) retire(*surplus(revision));
    if (answering >= record_.desired()) retire_misplaced(revision);
  }

  void retire_misplaced(int revision) {
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.revision() != revision || !is_misplaced(places_, instance)) continue;
      if (instance.state() == Instance::InService) {
        tell(fmt::format("Ending {}.", instance_name(instance.number())),
             instance_place(instance) + " is on no host of the hostfile", "Successful");
      }
      retire(instance);
    }
  }

  /// One that does not answer yet, else the youngest.
  Instance* surplus(int revision) {
    Instance* chosen = nullptr;
    for (Instance& instance : *record_.mutable_instances()) {
      const bool starts = instance.state() == Instance::Starting;
      if (instance.revision() != revision || is_misplaced(places_, instance)) continue;
      if (!starts && instance.state() != Instance::Ready && instance.state() != Instance::InService)
        continue;
      if (chosen == nullptr || starts || chosen->state() != Instance::Starting) chosen = &instance;
    }
    return chosen;
  }

  /// False: there is no room.
  bool start(int revision) {
    std::string host;
    if (!places_.hosts.empty()) {
      auto chosen = choose_host(places_, record_, revision);
      if (!chosen) {
        no_room_ = why_no_room(places_, record_, revision);
        return false;
      }
      host = std::move(*chosen);
    }
    Instance& instance = *record_.add_instances();
    instance.set_number(record_.last_instance() + 1);
    instance.set_revision(revision);
    instance.set_host(host);
    record_.set_last_instance(instance.number());
    enter(instance, Instance::Starting);
    plan_.steps.push_back({Kind::kStart, instance.number()});
    return true;
  }

  void note_room() {
    if (record_.no_room() == no_room_) return;
    record_.set_no_room(no_room_);
    plan_.changed = true;
  }

  void settle() {
    if (record_.status() != Status::Creating ||
        count(record_, record_.revision(), Instance::InService) < record_.desired()) {
      return;
    }
    record_.set_status(Status::InService);
    record_.set_modified_ms(now_);
    plan_.changed = true;
  }

  void end_draining() {
    for (Instance& instance : *record_.mutable_instances()) {
      const std::int64_t since = now_ - instance.since_ms();
      if (instance.state() == Instance::Draining &&
          (sight(instance).drained || since > limits_.drain_ms)) {
        stop(instance, Kind::kTerminate);
      } else if (instance.state() == Instance::Stopping && since > limits_.stop_ms) {
        plan_.steps.push_back({Kind::kKill, instance.number()});
      }
    }
  }

  void stop_all() {
    for (Instance& instance : *record_.mutable_instances()) {
      if (instance.state() != Instance::Stopping) stop(instance, Kind::kTerminate);
    }
  }

  v1::EndpointRecord& record_;
  const Sights& sights_;
  const std::int64_t now_;
  const EndpointLimits& limits_;
  const Places& places_;
  EndpointPlan plan_;
  std::string no_room_;
};

}  // namespace

EndpointPlan advance(v1::EndpointRecord& record, const Sights& sights, std::int64_t now_ms,
                     const EndpointLimits& limits, const Places& places) {
  return Advance(record, sights, now_ms, limits, places).run();
}

void begin_update(v1::EndpointRecord& record, const v1::EndpointSettings& settings,
                  std::int64_t now_ms) {
  if (record.status() != Status::InService) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("endpoint {} is {}; it can be updated when it is InService",
                            record.name(), Status::Value_Name(record.status())));
  }
  record.clear_failure_reason();
  record.set_modified_ms(now_ms);
  record.set_desired(
      std::clamp(record.desired(), settings.min_capacity(), settings.max_capacity()));
  if (same_instances(record.settings(), settings)) {
    *record.mutable_settings() = settings;
    return;
  }
  *record.mutable_next() = settings;
  record.set_last_revision(record.last_revision() + 1);
  record.set_status(Status::Updating);
  record.set_not_before_ms(0);
}

void begin_delete(v1::EndpointRecord& record, std::int64_t now_ms) {
  record.clear_next();
  record.set_status(Status::Deleting);
  record.set_modified_ms(now_ms);
}

void fail(v1::EndpointRecord& record, const std::string& reason, std::int64_t now_ms) {
  record.set_status(Status::Failed);
  record.set_failure_reason(reason);
  record.clear_trouble();
  record.clear_next();
  record.set_modified_ms(now_ms);
}

int count(const v1::EndpointRecord& record, int revision, Instance::State state) {
  return static_cast<int>(std::ranges::count_if(record.instances(), [&](const Instance& instance) {
    return instance.revision() == revision && instance.state() == state;
  }));
}

int next_revision(const v1::EndpointRecord& record) {
  return record.has_next() ? record.last_revision() : 0;
}

const v1::EndpointSettings& settings_of(const v1::EndpointRecord& record,
                                        const v1::EndpointInstance& instance) {
  return instance.revision() == next_revision(record) ? record.next() : record.settings();
}

std::string instance_name(int number) {
  return fmt::format("i-{}", number);
}

std::string instance_place(const v1::EndpointInstance& instance) {
  const std::string name = instance_name(instance.number());
  return instance.host().empty() ? name : fmt::format("{} on {}", name, instance.host());
}

}  // namespace musher
